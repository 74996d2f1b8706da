package coordinator

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
)

// highWater is the share of the memory limit, in tenths, above which nothing is
// planned: a plan needs memory of its own, and a process that is killed in the
// middle of it helps nobody.
const highWater = 9

// heap tells of the memory of this process.
type heap interface {
	// limit in bytes; math.MaxInt64 is none.
	limit() int64
	// inUse is the live heap and what is not yet collected, in bytes.
	inUse() int64
	// collect frees what nothing refers to.
	collect()
}

// goHeap is what the Go runtime says.
type goHeap struct{}

func (goHeap) limit() int64 { return debug.SetMemoryLimit(-1) }

func (goHeap) inUse() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(min(m.HeapAlloc, math.MaxInt64)) //nolint:gosec // bounded right here
}

func (goHeap) collect() { runtime.GC() }

// room tells why there is too little memory for a plan, or nil. Garbage is
// collected first when there seems to be none left.
func room(h heap) error {
	limit := h.limit()
	if limit <= 0 || limit == math.MaxInt64 {
		return nil
	}
	high := limit / 10 * highWater
	used := h.inUse()
	if used > high {
		h.collect()
		used = h.inUse()
	}
	if used > high {
		return fmt.Errorf("memory is short: %d of %d bytes in use", used, limit)
	}
	return nil
}
