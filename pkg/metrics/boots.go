package metrics

import (
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// boots finds Machines whose Node became ready between two ticks. A Machine
// that was ready when it was first seen says nothing, so a restart counts no
// Machine again. The zero value has seen none.
type boots struct {
	waiting map[string]bool // by UID
}

// boot is a Machine that came up.
type boot struct {
	class string
	took  time.Duration
}

// next takes a tick and returns the Machines that it found ready at last. A
// tick that does not know all of Machines and Nodes is passed over.
func (b *boots) next(t *Tick) []boot {
	for _, s := range t.Snapshot.Sources {
		if !s.Known && (s.Kind == planner.SourceManagement || s.Kind == planner.SourceWorkload) {
			return nil
		}
	}
	ready := map[string]bool{}
	for i := range t.Snapshot.Nodes {
		ready[t.Snapshot.Nodes[i].Name] = t.Snapshot.Nodes[i].Ready
	}
	class := map[string]string{}
	for i := range t.Snapshot.NodeGroups {
		class[t.Snapshot.NodeGroups[i].Key()] = t.Snapshot.NodeGroups[i].Class
	}
	var up []boot
	waiting := map[string]bool{}
	for i := range t.Snapshot.Machines {
		m := &t.Snapshot.Machines[i]
		took := t.At.Sub(m.CreatedAt)
		switch {
		case m.Deleting || m.Group == "":
		case m.Node == "" || !ready[m.Node]:
			waiting[m.UID] = true
		case b.waiting[m.UID] && took >= 0:
			up = append(up, boot{class[m.Group], took})
		}
	}
	b.waiting = waiting
	return up
}
