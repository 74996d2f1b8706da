package demand

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// seen is a state with n requests for a CPU and as many gangs as ids.
func seen(version, n int64, gangs ...string) *State {
	s := &State{Session: "s", Version: version}
	if n > 0 {
		s.Requests = []planner.Request{{Resources: planner.Resources{"CPU": 1000}, Count: n}}
	}
	for _, id := range gangs {
		s.Gangs = append(s.Gangs, planner.Gang{ID: id})
	}
	return s
}

func TestSettler(t *testing.T) {
	t.Parallel()
	type read struct {
		at    int // milliseconds
		state *State
		want  verdict
	}
	other := seen(1, 1)
	other.Session = "t"
	in := func(session string, version int64) *State {
		s := seen(version, 1)
		s.Session = session
		return s
	}
	idle := seen(3, 1)
	idle.RayNodes = []planner.RayNode{{ID: "a", IdleFor: 1}}
	idler := seen(4, 1)
	idler.RayNodes = []planner.RayNode{{ID: "a", IdleFor: 2, Activity: []string{"x"}}}
	busy := seen(5, 1)
	busy.RayNodes = []planner.RayNode{{ID: "a", Status: planner.RayNodeRunning}}
	for name, c := range map[string]struct {
		settle time.Duration
		reads  []read
	}{
		"what stays is published when settled": {400 * time.Millisecond, []read{
			{0, seen(1, 1), hold}, {200, seen(2, 1), hold}, {400, seen(3, 1), publish}, {1400, seen(4, 1), publish},
		}},
		"every change starts anew": {400 * time.Millisecond, []read{
			{0, seen(1, 1), hold}, {300, seen(2, 2), hold}, {600, seen(3, 2), hold}, {700, seen(4, 2), publish},
		}},
		"a decrease settles too": {400 * time.Millisecond, []read{
			{0, seen(1, 2), hold}, {400, seen(2, 2), publish}, {1000, seen(3, 1), hold}, {1400, seen(4, 1), publish},
		}},
		"back to what is published at once": {400 * time.Millisecond, []read{
			{0, seen(1, 1), hold}, {400, seen(2, 1), publish}, {1000, seen(3, 2), hold}, {1200, seen(4, 1), publish}, {1300, seen(5, 2), hold}, {1600, seen(6, 2), hold}, {1700, seen(7, 2), publish},
		}},
		"what never stops is let through": {400 * time.Millisecond, []read{
			{0, seen(1, 1), hold},
			{300, seen(2, 2), hold},
			{600, seen(3, 3), hold},
			{900, seen(4, 4), hold},
			{1200, seen(5, 5), hold},
			{1500, seen(6, 6), hold},
			{1800, seen(7, 7), hold},
			{2100, seen(8, 8), hold},
			{2200, seen(9, 9), publish},
			{2300, seen(10, 10), hold},
			{4500, seen(11, 11), publish},
		}},
		"no settling": {0, []read{{0, seen(1, 1), publish}, {1, seen(2, 2, "g"), publish}, {2, seen(3, 2), publish}}},
		"a gang waits for the requests of its job": {400 * time.Millisecond, []read{
			{0, seen(1, 0), hold}, {400, seen(2, 0), publish}, {1000, seen(3, 0, "g"), hold}, {1400, seen(4, 0, "g"), hold}, {1900, seen(5, 10, "g"), hold}, {2300, seen(6, 10, "g"), publish},
		}},
		"a gang alone": {400 * time.Millisecond, []read{
			{0, seen(1, 0), hold}, {400, seen(2, 0), publish}, {1000, seen(3, 0, "g"), hold}, {2000, seen(4, 0, "g"), hold}, {2100, seen(5, 0, "g"), publish},
		}},
		// Fault 10: the head restarted: what its former session said is void, and the
		// first answers of the new one are not believed.
		"a new session makes what was known void": {400 * time.Millisecond, []read{
			{0, seen(8, 1), hold},
			{400, seen(9, 1), publish},
			{2000, other, forget},
			{2400, in("t", 2), hold},
			{6900, in("t", 3), hold},
			{7000, in("t", 4), publish},
		}},
		"another session before anything is known": {400 * time.Millisecond, []read{
			{0, seen(8, 1), hold}, {200, other, hold}, {600, in("t", 2), hold}, {5200, in("t", 3), publish},
		}},
		// Fault 3: answers that are older than one that was read before.
		"what is older is passed over": {400 * time.Millisecond, []read{
			{0, seen(8, 1), hold},
			{400, seen(9, 1), publish},
			{1000, seen(7, 5), stale},
			{1200, seen(7, 5), stale},
			{1400, seen(7, 5), stale},
			{1600, seen(7, 5), stale},
			{2000, seen(10, 1), publish},
			{2200, seen(8, 5), stale},
			{2400, seen(9, 5), stale},
			{2600, seen(8, 5), stale},
			{2800, seen(11, 1), publish},
		}},
		"a restart under the name of the former session": {400 * time.Millisecond, []read{
			{0, seen(8, 1), hold},
			{400, seen(9, 1), publish},
			{1000, seen(1, 0), stale},
			{1200, seen(2, 0), stale},
			{1400, seen(3, 0), forget},
			{6300, seen(4, 1), hold},
			{6700, seen(5, 1), publish},
		}},
		"clocks are no change": {400 * time.Millisecond, []read{
			{0, idle, hold}, {400, idler, publish}, {500, busy, hold},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := settler{settle: c.settle}
			start := time.Unix(1000, 0)
			for i, r := range c.reads {
				assert.Equal(t, r.want, s.read(r.state, start.Add(time.Duration(r.at)*time.Millisecond)), "read %d at %d ms", i, r.at)
			}
		})
	}
}

func TestSettlerTellsSinceWhenADemandHasBeenSeen(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	s := settler{settle: 400 * time.Millisecond}
	first, again, more := seen(2, 1), seen(3, 1), seen(5, 2)
	s.read(seen(1, 1), at(0))
	require.Equal(t, publish, s.read(first, at(400)))
	assert.Equal(t, at(0), first.Since, "from the first read, not from when it had settled")
	require.Equal(t, publish, s.read(again, at(1400)))
	assert.Equal(t, at(0), again.Since, "what stays keeps its time")
	s.read(seen(4, 2), at(2000))
	require.Equal(t, publish, s.read(more, at(2400)))
	assert.Equal(t, at(2000), more.Since)
}

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	t.Parallel()
	for failures, most := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: maxBackoff, 1000: maxBackoff} {
		for range 100 {
			d := backoff(time.Second, failures)
			assert.LessOrEqual(t, d, most)
			assert.GreaterOrEqual(t, d, most/2)
		}
	}
}

// Fault 10: idle times start anew with every session, whatever the nodes claim.
func TestIdleTimesStartAnewWithASession(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	s := settler{}
	read := func(after time.Duration, session string, version int64) time.Duration {
		state := seen(version, 1)
		state.Session = session
		state.RayNodes = []planner.RayNode{{ID: "a", Status: planner.RayNodeIdle, IdleFor: planner.Duration(time.Hour)}}
		if s.read(state, start.Add(after)) != publish {
			return -1
		}
		return time.Duration(state.RayNodes[0].IdleFor)
	}
	assert.Zero(t, read(0, "s", 1))
	assert.Equal(t, 30*time.Second, read(30*time.Second, "s", 2))
	assert.Equal(t, time.Hour, read(2*time.Hour, "s", 3), "never more than the node claims")
	assert.Equal(t, time.Duration(-1), read(3*time.Hour, "t", 1))
	assert.Equal(t, 10*time.Second, read(3*time.Hour+10*time.Second, "t", 2))
}
