package report

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPrinterShowsProgressOnlyWhenNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewPrinter(&out, time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Progress(ctx, func() string { return "waiting" })
		}()
		time.Sleep(3 * time.Second)
		p.Print(Event{At: 3, Kind: KindFault, Subject: "x", Text: "killHead x"})
		time.Sleep(4 * time.Second) // 7 s: quiet for 4 s
		synctest.Wait()
		assert.NotContains(t, out.String(), "waiting")
		time.Sleep(6500 * time.Millisecond) // 13.5 s: lines at 8 s and 13 s
		synctest.Wait()
		cancel()
		<-done
		assert.Equal(t, []string{
			"   +3.0s  fault        killHead x",
			"   +8.0s  ...          waiting",
			"  +13.0s  ...          waiting",
		}, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"))
	})
}

func TestSummarize(t *testing.T) {
	r := newTestRecorder()
	r.ObserveReplicas(at(0), "gpu", 0, true, "")
	r.ObserveGCS(at(1000), cluster, RayState{Demand: map[string]int64{"{GPU 1}": 1}})
	r.ObserveReplicas(at(1600), "gpu", 1, false, "")
	r.DriverStarted(at(900), "job", cluster, "")
	r.DriverEnded(at(9000), "job", DriverEnd{Tail: "noise\nRESULT ok 7\n(raylet) noise\n"})
	r.DriverStarted(at(9100), "other", cluster, "")
	rep := r.Report(at(10000))
	rep.Failures = []string{"too slow\nby far"}
	var out bytes.Buffer
	Summarize(&out, rep)
	for _, want := range []string{
		"FAILED test in 10.0 s", "not as expected: too slow\n    by far", "driver job: exit code 0 after 8.1 s, printed: RESULT ok 7",
		"driver other: did not end", "one raise 0.60 s later", "removed while busy: 0",
	} {
		assert.Contains(t, out.String(), want)
	}
}
