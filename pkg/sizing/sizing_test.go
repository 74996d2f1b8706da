package sizing_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
	"github.com/tandem-autoscaler/tandem/pkg/sizing"
)

func TestReadClasses(t *testing.T) {
	got, err := sizing.ReadClasses("c.csv", strings.NewReader("name,cpu_milli,mem_mib,gpu,price,max\na,8000,1024,0,0.40,\nb,1500,2,8,1,0\n"))
	require.NoError(t, err)
	assert.Equal(t, []sizing.Class{
		{Name: "a", CPU: 8000, Memory: 1 << 30, Price: 400_000, Max: packing.Unlimited},
		{Name: "b", CPU: 1500, Memory: 2 << 20, GPUs: 8, Price: 1_000_000},
	}, got)
	got, err = sizing.ReadClasses("c.csv", strings.NewReader("vm_class,cpu,memory_gib,gpu,price_per_hour,gpu_type\na,8,0.5,1,2.5,H100\n"))
	require.NoError(t, err)
	assert.Equal(t, []sizing.Class{{Name: "a", CPU: 8000, Memory: 1 << 29, GPUs: 1, GPUType: "H100", Price: 2_500_000, Max: packing.Unlimited}}, got)
}

func TestReadDemand(t *testing.T) {
	got, err := sizing.ReadDemand("d.csv", strings.NewReader("name,count,cpu_milli,mem_mib,gpu\na,3,500,1,0.25\n"))
	require.NoError(t, err)
	assert.Equal(t, []sizing.Demand{{Name: "a", Count: 3, CPU: 500, Memory: 1 << 20, GPU: 2500}}, got)
	trace := "id,arrival_s,duration_s,count,gang,cpu,memory_bytes,gpu,gpu_type,custom,tenant,priority,patience_s,label\n" +
		"a,0,5,4,STRICT_PACK,0.5,7,0.4,,,,,,\nb,0,5,2,STRICT_SPREAD,1,7,2,T4|A10,fpga=0.5;x=1,,,,phase=Running\nc,0,5,2,PACK,1,7,0,,,,,,\n"
	got, err = sizing.ReadDemand("d.csv", strings.NewReader(trace))
	require.NoError(t, err)
	want := []sizing.Demand{
		{Name: "a", Count: 1, CPU: 2000, Memory: 28, GPU: 20000},
		{Name: "b", Count: 2, CPU: 1000, Memory: 7, GPU: 20000, GPUTypes: []string{"A10", "T4"}, Custom: map[string]int64{"fpga": 5000, "x": 10000}, Spread: true},
		{Name: "c", Count: 2, CPU: 1000, Memory: 7},
	}
	assert.Equal(t, want, got)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write([]byte(trace))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	got, err = sizing.ReadDemand("d.csv.gz", &packed)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestFaults(t *testing.T) {
	classes, demand := "name,cpu_milli,mem_mib,gpu,price,max\n", "name,count,cpu_milli,mem_mib,gpu\n"
	for _, c := range []struct {
		kind, text, want string
	}{
		{"classes", "", "f.csv:1: the file is empty"},
		{"classes", classes, "f.csv:2: the file has a header and no class"},
		{"classes", "name,cpu_milli,mem_mib,price\na,1,1,1\n", `f.csv:1: column "gpu" is missing`},
		{"classes", "name,cpu_milli,mem_mib,gpu,price,colour\n", `f.csv:1: unknown column "colour"`},
		{"classes", "name,name,mem_mib,gpu,price\n", `f.csv:1: column "name" comes twice`},
		{"classes", "name,vm_class,cpu,mem_mib,gpu,price\n", `say the same`},
		{"classes", classes + "a,1,1,0,1,\nb,-1,1,0,1,\n", "f.csv:3: cpu_milli: -1 is negative"},
		{"classes", classes + "a,1,NaN,0,1,\n", `f.csv:2: mem_mib: "NaN" is not a finite number`},
		{"classes", classes + "a,1,1,0,1e400,\n", `is not a finite number`},
		{"classes", classes + "a,1,1,0.5,1,\n", `f.csv:2: gpu: "0.5" is not a whole number`},
		{"classes", classes + "a,1,1,0,,\n", "f.csv:2: price is empty"},
		{"classes", classes + "a,1,1,0,1,-4\n", "f.csv:2: max: -4 is negative"},
		{"classes", classes + "a,1e300,1,0,1,\n", "is too large"},
		{"classes", classes + ",1,1,0,1,\n", "f.csv:2: the class has no name"},
		{"classes", classes + "a,1,1,0,1,\n\na,1,1,0,1,\n", `f.csv:4: class "a" is on line 2 already`},
		{"classes", classes + "a,1\n", "f.csv:2: wrong number of fields"},
		{"classes", "\x00", "a zero byte"},
		{"demand", "", "f.csv:1: the file is empty"},
		{"demand", demand, "f.csv:2: the file has a header and no demand"},
		{"demand", demand + "a,1,1,1,1.5\n", "f.csv:2: gpu: 1.5 is more than one device and not whole"},
		{"demand", demand + "a,1.5,1,1,0\n", `f.csv:2: count: "1.5" is not a whole number`},
		{"demand", demand + "a,-1,1,1,0\n", "f.csv:2: count: -1 is negative"},
		{"demand", demand + "a,1,x,1,0\n", `f.csv:2: cpu_milli: "x" is not a number`},
		{"demand", demand + ",1,1,1,0\n", "f.csv:2: the demand has no name"},
		{"demand", "id,count,cpu,memory_bytes,gpu,gang\na,1,1,1,0,BOTH\n", `f.csv:2: gang: "BOTH"`},
		{"demand", "id,count,cpu,memory_bytes,gpu,custom\na,1,1,1,0,x\n", `f.csv:2: custom: "x" is not name=value`},
		{"demand", "id,count,cpu,memory_bytes,gpu,custom\na,1,1,1,0,x=-1\n", `f.csv:2: custom x: -1 is negative`},
	} {
		t.Run(c.want, func(t *testing.T) {
			var err error
			if c.kind == "classes" {
				_, err = sizing.ReadClasses("f.csv", strings.NewReader(c.text))
			} else {
				_, err = sizing.ReadDemand("f.csv", strings.NewReader(c.text))
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := sizing.ReadDemand("f.csv.gz", strings.NewReader("plain"))
	require.ErrorContains(t, err, "unpacking f.csv.gz")
	_, err = sizing.ReadClasses("f.csv", strings.NewReader(classes+"a,-1,1,0,1,\n"))
	var at *sizing.LineError
	require.ErrorAs(t, err, &at)
	assert.Equal(t, 2, at.Line)
}

// TestProvenOptima sizes the mixed pods of testdata against the optima that a
// pattern program and an integer solver have proven for them.
func TestProvenOptima(t *testing.T) {
	for _, c := range []struct {
		pods, classes string
		taint         bool
		optimum       float64
	}{
		{"pods_3000", "types", false, 5016},
		{"pods_3000", "types", true, 5260.70},
		{"pods_3000", "types_lin", false, 5556.5},
		{"pods_3000", "types_lin", true, 5788.4},
		{"pods_5000", "types_lin", true, 9647.2},
		{"pods_10000", "types_lin", false, 18521.6},
		{"pods_10000", "types_lin", true, 19293.6},
	} {
		p := problem(t, c.pods, c.classes, c.taint)
		r := packing.Solve(p)
		assert.InEpsilon(t, c.optimum, float64(r.Cost)/sizing.PriceUnit, 5e-4, c)
		assert.LessOrEqual(t, float64(r.Bound)/sizing.PriceUnit, c.optimum*(1+1e-6), c)
		assert.LessOrEqual(t, r.Gap(), 5e-4, c)
		for k, n := range r.Nodes {
			assert.LessOrEqual(t, n, p.Classes[k].Max)
		}
		for _, n := range r.Unplaced {
			assert.Zero(t, n)
		}
	}
}

// TestShortOfGPUs asks for 7,200 GPUs where there are 4,800. All of them are
// used, the fewest pods are left out (those with the most GPUs), and what the
// others cost is proven.
func TestShortOfGPUs(t *testing.T) {
	for _, taint := range []bool{false, true} {
		r := packing.Solve(problem(t, "pods_10000", "types", taint))
		var out int64
		for _, n := range r.Unplaced {
			out += n
		}
		assert.Equal(t, int64(400), out, "200 with 8 GPUs and 200 with 4 free 2,400")
		assert.LessOrEqual(t, r.Gap(), 1e-4)
	}
}

func problem(tb testing.TB, pods, classes string, taint bool) packing.Problem {
	tb.Helper()
	c, err := os.ReadFile("testdata/" + classes + ".csv") //nolint:gosec // A name from this file.
	require.NoError(tb, err)
	d, err := os.ReadFile("testdata/" + pods + ".csv") //nolint:gosec // A name from this file.
	require.NoError(tb, err)
	cs, err := sizing.ReadClasses(classes, bytes.NewReader(c))
	require.NoError(tb, err)
	ds, err := sizing.ReadDemand(pods, bytes.NewReader(d))
	require.NoError(tb, err)
	return sizing.Problem(cs, ds, taint)
}

// BenchmarkMixedPods is the plan of 10,000 pods of nine shapes on seven classes.
func BenchmarkMixedPods(b *testing.B) {
	for _, taint := range []bool{false, true} {
		p := problem(b, "pods_10000", "types_lin", taint)
		b.Run(map[bool]string{false: "10000", true: "10000-taint"}[taint], func(b *testing.B) {
			for b.Loop() {
				r := packing.Solve(p)
				b.ReportMetric(100*r.Gap(), "gap%")
			}
		})
	}
}

func FuzzReadClasses(f *testing.F) {
	f.Add("name,cpu_milli,mem_mib,gpu,price,max\na,8000,1024,0,0.40,\n")
	f.Add("vm_class,cpu,memory_gib,gpu,price_per_hour,gpu_type\na,8,0.5,1,2.5,H100\n")
	f.Fuzz(func(t *testing.T, text string) {
		classes, err := sizing.ReadClasses("f.csv", strings.NewReader(text))
		if (err == nil) != (len(classes) > 0) {
			t.Fatalf("%d classes and the error %v", len(classes), err)
		}
		for _, c := range classes {
			if c.Name == "" || c.CPU < 0 || c.Memory < 0 || c.GPUs < 0 || c.Price < 0 || c.Max < 0 {
				t.Fatalf("%+v", c)
			}
		}
	})
}

func FuzzReadDemand(f *testing.F) {
	f.Add("name,count,cpu_milli,mem_mib,gpu\na,3,500,1,0.25\n")
	f.Add("id,count,cpu,memory_bytes,gpu,gang,custom,gpu_type\na,3,0.5,1,0.25,STRICT_PACK,x=1;y=2,A|B\n")
	f.Fuzz(func(t *testing.T, text string) {
		demand, err := sizing.ReadDemand("f.csv", strings.NewReader(text))
		if (err == nil) != (len(demand) > 0) {
			t.Fatalf("%d rows and the error %v", len(demand), err)
		}
		for _, d := range demand {
			if d.Name == "" || d.Count < 0 || d.CPU < 0 || d.Memory < 0 || d.GPU < 0 || d.GPU > packing.Device && d.GPU%packing.Device != 0 {
				t.Fatalf("%+v", d)
			}
		}
	})
}
