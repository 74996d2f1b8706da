package demand

import (
	"strings"
)

// maxName is the longest name that is let through, in bytes.
const maxName = 253

// Names of resources that mean something else to Ray (ray:
// src/ray/common/constants.h, src/ray/common/bundle_spec.h).
const (
	headMarker     = "node:__internal_head__"
	implicitPrefix = "node:__internal_implicit_resource_"
	nodePrefix     = "node:"
	groupInfix     = "_group_"
	gangLabel      = "_PG_"
)

// nameKind says what a resource's name stands for.
type nameKind int

const (
	nameOrdinary nameKind = iota
	// nameImplicit: every Ray node has exactly one of any such name.
	nameImplicit
	// nameNode: only one particular node has it.
	nameNode
	// nameGang: only nodes that hold a bundle of one placement group have it.
	nameGang
)

func kindOfName(name string) nameKind {
	switch {
	case strings.HasPrefix(name, implicitPrefix):
		return nameImplicit
	case strings.HasPrefix(name, nodePrefix):
		return nameNode
	case inGang(name):
		return nameGang
	default:
		return nameOrdinary
	}
}

// inGang recognises <resource>_group_<hex> and <resource>_group_<index>_<hex>.
func inGang(name string) bool {
	_, rest, found := strings.Cut(name, groupInfix)
	if !found {
		return false
	}
	if index, id, indexed := strings.Cut(rest, "_"); indexed {
		if index == "" || strings.Trim(index, "0123456789") != "" {
			return false
		}
		rest = id
	}
	return isGangID(rest)
}

// isGangID tells whether s is a placement group's id: 18 bytes in hexadecimal
// (ray: src/ray/common/id.h), here any length from 16 digits on.
func isGangID(s string) bool {
	return len(s) >= 16 && len(s) <= 128 && strings.Trim(s, "0123456789abcdef") == ""
}

// validName tells whether a name of a tenant's choosing may travel on: not
// empty, not long, and of letters, digits and a few marks. Marks with a meaning
// in plans, logs or pages are not among them.
func validName(s string) bool { return s != "" && validText(s) }

// validText is validName that lets the empty text pass.
func validText(s string) bool {
	if len(s) > maxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("-_.:/@+# ", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// clip shortens a text to what a log line bears.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
