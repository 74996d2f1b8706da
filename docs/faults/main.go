// Command faults writes docs/faults.md: what can go wrong, what the
// coordinator does then, and the tests that show it.
//
// A test says which row it proves in a comment above it, or above its entry in
// a table:
//
//	// Fault 12: two RayClusters share one node.
//
// Scenarios and stories do the same in a line that begins with #. Run it from
// the root of the repository:
//
//	go run ./docs/faults
package main

import (
	"fmt"
	"os"
	"path"
	"strings"
)

const file = "docs/faults.md"

func main() {
	text, err := document(".")
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o644) //nolint:gosec // A page for everybody.
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// document is the page for the repository at root.
func document(root string) (string, error) {
	rows := faults()
	proofs, err := scan(root, len(rows))
	if err != nil {
		return "", err
	}
	return render(rows, proofs), nil
}

// missing lists the rows without a test.
func missing(rows []fault, proofs []proof) []int {
	has := make([]bool, len(rows)+1)
	for _, p := range proofs {
		has[p.fault] = true
	}
	var out []int
	for n := 1; n <= len(rows); n++ {
		if !has[n] {
			out = append(out, n)
		}
	}
	return out
}

const head = `# What can go wrong

<!-- Made by go run ./docs/faults. Do not edit. -->

Unknown is not zero: growing needs fresh demand, shrinking needs every source
fresh, and in doubt capacity is kept. Each row below is one fault, what is done
about it, and the tests that show it. A test names its row in a comment, and
this page is made of these comments: %d of %d rows have tests, %d tests in all.

| # | fault | what happens then | tests |
|---|---|---|---|
`

func render(rows []fault, proofs []proof) string {
	var b strings.Builder
	fmt.Fprintf(&b, head, len(rows)-len(missing(rows, proofs)), len(rows), len(proofs))
	for i, row := range rows {
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, row.what, row.safe, cell(proofs, i+1))
	}
	return b.String()
}

// cell lists the tests of one row.
func cell(proofs []proof, n int) string {
	var out []string
	for _, p := range proofs {
		if p.fault != n {
			continue
		}
		name, room := p.name, path.Dir(p.file)
		if name == "" {
			name = strings.TrimSuffix(path.Base(p.file), path.Ext(p.file))
		}
		out = append(out, fmt.Sprintf("[`%s`](../%s) in %s: %s", name, p.file, room, strings.ReplaceAll(p.text, "|", `\|`)))
	}
	if len(out) == 0 {
		return "none yet"
	}
	return strings.Join(out, "<br>")
}
