package planner_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

var growth = flag.String("growth", "", "measure how the work of a plan grows, and draw it into this SVG file")

// axis is one thing that grows while the others stay as in the middle of the
// range.
type axis struct {
	name   string
	values []int
	world  func(int) scale
}

func axes() []axis {
	return []axis{
		{"shapes", []int{100, 200, 400, 800, 1600}, func(n int) scale { return scale{nodes: 1000, shapes: n, requests: 100_000, gangs: 50} }},
		{"nodes", []int{500, 1000, 2000, 4000, 8000}, func(n int) scale { return scale{nodes: n, shapes: 400, requests: 100_000, gangs: 50} }},
		{"requests", []int{1000, 10_000, 100_000, 1_000_000}, func(n int) scale { return scale{nodes: 1000, shapes: 400, requests: n, gangs: 50} }},
		{"gangs", []int{50, 100, 200, 400, 800}, func(n int) scale { return scale{nodes: 1000, shapes: 400, requests: 100_000, gangs: n} }},
	}
}

// TestGrowth draws docs/planner-growth.svg and prints its figures as a table.
func TestGrowth(t *testing.T) {
	if *growth == "" {
		t.Skip("no -growth file to draw into")
	}
	var svg strings.Builder
	svg.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" width="720" height="520" viewBox="0 0 720 520" font-family="sans-serif" font-size="12">` + "\n" +
		`<title>CPU time of one plan as shapes, nodes, requests and gangs grow</title>` + "\n" + `<rect width="720" height="520" fill="#fff"/>` + "\n")
	all := axes()
	panels := make([]panel, len(all))
	for i := range panels {
		panels[i].rounds = [2]map[int][]float64{{}, {}}
	}
	for range 3 { // passes, so that a moment of other work on the machine spoils none
		for i, a := range all {
			panels[i].measure(a)
		}
	}
	for i, a := range all {
		p := panels[i]
		p.sum(a)
		for j, v := range a.values {
			fmt.Printf("| %s | %d | %.1f | %.1f |\n", a.name, v, p.lines[0][j], p.lines[1][j])
		}
		p.x, p.y, p.w, p.h = 55+350*(i%2), 40+250*(i/2), 270, 170
		p.draw(&svg, a)
	}
	svg.WriteString("</svg>\n")
	require.NoError(t, os.WriteFile(*growth, []byte(svg.String()), 0o600))
}

// panel is the diagram of one axis, with the time on a straight scale and what
// grows on a logarithmic one.
type panel struct {
	x, y, w, h int
	// rounds and lines are for equal nodes and for nodes no two of which are
	// alike: the times of each point, and what they come to.
	rounds [2]map[int][]float64
	lines  [2][]float64
}

// measure takes the CPU time of ten more plans at each point, in milliseconds.
func (p *panel) measure(a axis) {
	for i, v := range a.values {
		w := a.world(v)
		for line := range p.rounds {
			s := w.snapshot()
			for range 10 {
				start := cpuTime()
				planner.Make(s, planner.Memory{})
				p.rounds[line][i] = append(p.rounds[line][i], (cpuTime()-start).Seconds()*1000)
			}
			w.mixed = true
		}
	}
}

// sum takes the 10th percentile of each point: what disturbs a plan adds to it.
func (p *panel) sum(a axis) {
	for i := range a.values {
		for line, rounds := range p.rounds {
			slices.Sort(rounds[i])
			p.lines[line] = append(p.lines[line], percentile(rounds[i], 10))
		}
	}
}

func (p panel) draw(svg *strings.Builder, a axis) {
	top := 10.0
	for _, v := range slices.Concat(p.lines[0], p.lines[1]) {
		for top < v {
			top += 10
		}
	}
	fmt.Fprintf(svg, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", p.x, p.y-14, a.name)
	for tick := range 3 {
		y := p.y + p.h - tick*p.h/2
		fmt.Fprintf(svg, `<path d="M%d %dh%d" stroke="#ccc"/><text x="%d" y="%d" text-anchor="end">%.0f ms</text>`+"\n", p.x, y, p.w, p.x-6, y+4, top*float64(tick)/2)
	}
	at := func(i int, v float64) (x, y float64) {
		span := math.Log(float64(a.values[len(a.values)-1])) - math.Log(float64(a.values[0]))
		return float64(p.x) + float64(p.w)*(math.Log(float64(a.values[i]))-math.Log(float64(a.values[0])))/span, float64(p.y+p.h) - float64(p.h)*v/top
	}
	for i, v := range a.values {
		x, _ := at(i, 0)
		fmt.Fprintf(svg, `<text x="%.0f" y="%d" text-anchor="middle">%d</text>`+"\n", x, p.y+p.h+18, v)
	}
	for _, line := range []struct {
		name, colour string
		values       []float64
		label        int
	}{{"equal nodes", "#1f6feb", p.lines[0], 0}, {"no two nodes alike", "#d1242f", p.lines[1], 95}} {
		var points strings.Builder
		for i, v := range line.values {
			x, y := at(i, v)
			fmt.Fprintf(&points, "%.1f,%.1f ", x, y)
			fmt.Fprintf(svg, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, line.colour)
		}
		fmt.Fprintf(svg, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(points.String()), line.colour)
		fmt.Fprintf(svg, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", p.x+75+line.label, p.y-14, line.colour, line.name)
	}
}
