package coordinator

import (
	"maps"
	"slices"
)

// Fork is another loop that goes on where l stands.
func (l *Loop) Fork(o Options) *Loop {
	f := New(o)
	f.memory, f.wall, f.mono = l.memory, l.wall, l.mono
	f.spent.entries, f.pauses, f.accepted = slices.Clone(l.spent.entries), maps.Clone(l.pauses), maps.Clone(l.accepted)
	return f
}
