package demand_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
)

var update = flag.Bool("update", false, "write the golden files")

// TestARealAnswer converts what a head of Ray 2.60.0 answered to a driver that
// had asked for six GPUs, four CPUs, labels with fallbacks, an actor with an
// accelerator type, three placement groups, a task inside one of them, and
// request_resources.
func TestARealAnswer(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/ray-2.60.0.pb")
	require.NoError(t, err)
	s := &autoscalerpb.ClusterResourceState{}
	require.NoError(t, proto.Unmarshal(b, s))
	assert.Empty(t, s.ProtoReflect().GetUnknown())
	got, err := json.MarshalIndent(demand.Convert(s, demand.DefaultLimits()), "", "  ")
	require.NoError(t, err)
	const golden = "testdata/ray-2.60.0.json"
	if *update {
		require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(got))
}
