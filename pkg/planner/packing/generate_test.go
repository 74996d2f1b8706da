package packing_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// mix describes a generated case.
type mix struct {
	shapes, pods, classes int
	taint, caps, shared   bool
	seed                  uint64
}

func (m mix) String() string {
	return fmt.Sprintf("%d shapes %d pods %d classes taint=%t caps=%t shared=%t seed=%d", m.shapes, m.pods, m.classes, m.taint, m.caps, m.shared, m.seed)
}

const gib = int64(1) << 30

// catalogue is ten classes, most of them with linear prices.
var catalogue = []packing.Class{
	{Name: "cpu-8x32", Capacity: []int64{8000, 32 * gib}, Price: 368_000},
	{Name: "cpu-32x128", Capacity: []int64{32000, 128 * gib}, Price: 1_472_000},
	{Name: "mem-32x256", Capacity: []int64{32000, 256 * gib}, Price: 1_984_000},
	{Name: "gpu1", Capacity: []int64{12000, 96 * gib}, Devices: 1, Price: 2_544_000},
	{Name: "gpu2", Capacity: []int64{24000, 192 * gib}, Devices: 2, Price: 5_088_000},
	{Name: "gpu4", Capacity: []int64{48000, 384 * gib}, Devices: 4, Price: 10_176_000},
	{Name: "gpu8", Capacity: []int64{96000, 1024 * gib}, Devices: 8, Price: 21_376_000},
	{Name: "cpu-16x64", Capacity: []int64{16000, 64 * gib}, Price: 750_000},
	{Name: "mem-64x512", Capacity: []int64{64000, 512 * gib}, Price: 3_900_000},
	{Name: "gpu4-big", Capacity: []int64{64000, 768 * gib}, Devices: 4, Price: 12_000_000},
}

// problem draws shapes: CPU-only ones and such with 1 to 8 GPUs, with memory
// in the ratios of common machines.
func (m mix) problem() packing.Problem {
	r := rand.New(rand.NewPCG(m.seed, 7)) //nolint:gosec // The cases must be the same every time.
	one := func(v ...int64) int64 { return v[r.IntN(len(v))] }
	var p packing.Problem
	p.Classes = append(p.Classes, catalogue[:m.classes]...)
	for k := range p.Classes {
		p.Classes[k].Max, p.Classes[k].Headroom = packing.Unlimited, packing.Unlimited
	}
	for i := range m.shapes {
		g := one(0, 0, 0, 0, 0, 1, 1, 2, 4, 8)
		var cpu, memory int64
		if g == 0 {
			cpu = one(500, 1000, 1500, 2000, 3000, 4000, 6000, 8000)
			memory = max(gib/2, cpu/1000*one(1, 2, 4, 6, 8)*gib)
		} else {
			cpu = min(96000, g*1000*one(1, 2, 4, 6, 8))
			memory = g * one(8, 16, 32, 64) * gib
		}
		s := packing.Shape{Name: fmt.Sprintf("s%d", i), Amounts: []int64{cpu + r.Int64N(8)*25, memory + r.Int64N(8)*gib/64}, GPU: g * packing.Device, Count: int64(m.pods / m.shapes)}
		if i < m.pods%m.shapes {
			s.Count++
		}
		if cpu >= 64000 || memory >= 512*gib {
			s.Amounts = []int64{cpu, memory}
		}
		if m.shared && g == 1 {
			s.GPU = one(1000, 2000, 2500, 3300, 4600, 5000, 6000, 8100, 9000)
		}
		if m.taint && g == 0 {
			s.Refused = make([]bool, m.classes)
			for k := range s.Refused {
				s.Refused[k] = p.Classes[k].Devices > 0
			}
		}
		p.Shapes = append(p.Shapes, s)
	}
	if m.caps {
		// Stock that binds: less than a plan without it would buy.
		free := packing.Solve(packing.Problem{Shapes: p.Shapes, Classes: p.Classes, Budget: packing.Work(20)})
		for k, n := range free.Nodes {
			if p.Classes[k].Devices < 8 && n > 3 && r.IntN(2) == 0 {
				p.Classes[k].Max = n * 7 / 10
			}
		}
	}
	return p
}

// mixes are the cases that the figures are for.
func mixes() []mix {
	var all []mix
	for seed, m := range []mix{
		{shapes: 250, pods: 1000, classes: 7},
		{shapes: 250, pods: 1000, classes: 7, taint: true},
		{shapes: 250, pods: 1000, classes: 7, taint: true, caps: true},
		{shapes: 250, pods: 5000, classes: 7},
		{shapes: 250, pods: 5000, classes: 7, taint: true},
		{shapes: 300, pods: 6000, classes: 10, taint: true, caps: true},
		{shapes: 300, pods: 6000, classes: 10, caps: true},
		{shapes: 300, pods: 3000, classes: 10, taint: true},
		{shapes: 300, pods: 3000, classes: 10, caps: true, shared: true},
		{shapes: 280, pods: 2000, classes: 8, taint: true, caps: true, shared: true},
	} {
		m.seed = uint64(seed + 1)
		all = append(all, m)
	}
	return all
}
