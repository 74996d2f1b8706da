package metrics

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds a text that may come from a tenant, in bytes.
const maxText = 500

// clean makes a text fit for journals and events: valid, on one line, without
// control characters, and at most maxText bytes long.
func clean(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	if len(s) <= maxText {
		return s
	}
	const more = "..."
	cut := maxText - len(more)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}
