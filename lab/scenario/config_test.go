package scenario

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tandem-autoscaler/tandem/pkg/config"
	"sigs.k8s.io/yaml"
)

func TestCoordinatorConfig(t *testing.T) {
	s := mustParse(t, minimal+`
coordinator:
  config:
    growth: {provisionDeadline: 15s}
    rayClusters: {defaultMode: follow}
    catalogue: {vcenter: null}
`)
	r := newTestRun(t, s, newFakeLab(), "")
	b, err := r.coordinatorConfig(t.Context(), "/journal.jsonl")
	require.NoError(t, err)
	got := config.Default()
	require.NoError(t, yaml.UnmarshalStrict(b, &got), "the product's own schema")
	assert.Equal(t, config.Management{Kubeconfig: "/m.kubeconfig", Namespace: "default", ClusterName: "gpu-cluster"}, got.Management)
	assert.Equal(t, "/w.kubeconfig", got.Workload.Kubeconfig)
	assert.Equal(t, 15*time.Second, got.Growth.ProvisionDeadline.Duration)
	assert.Equal(t, 3*time.Second, got.Removal.VacantHold.Duration)
	assert.Equal(t, time.Second, got.Loop.Interval.Duration)
	assert.True(t, got.Removal.Enabled)
	assert.True(t, got.LeaderElection.Enabled)
	assert.Equal(t, "tandem-coordinator", got.LeaderElection.Name, "what the lab does not set is the product's default")
	assert.True(t, strings.HasPrefix(got.Server.Address, "127.0.0.1:"))
	assert.Equal(t, "/journal.jsonl", got.Journal.Path)
	assert.Nil(t, got.Catalogue.VCenter, "null removes a key")
	assert.Equal(t, []config.Class{{Name: "small", Price: "0.20"}}, got.Catalogue.Classes)
	assert.Equal(t, "follow", got.RayClusters.DefaultMode)
	require.Len(t, got.RayClusters.Credentials, 1)
	assert.Equal(t, "tenant", got.RayClusters.Credentials[0].Namespace)
	assert.Equal(t, "closed", got.RayClusters.Credentials[0].Name)
}

func TestTokenIsInTheSecretAndInTheFile(t *testing.T) {
	s := mustParse(t, minimal)
	lab := newFakeLab()
	r := newTestRun(t, s, lab, "")
	require.NoError(t, r.prepareToken(t.Context(), &s.RayClusters[0]))
	assert.Empty(t, r.tokens, "a cluster without authentication has none")
	closed := &s.RayClusters[1]
	require.NoError(t, r.prepareToken(t.Context(), closed))
	token := r.tokens["tenant/closed"]
	require.Len(t, token, 48)
	file, err := os.ReadFile(r.tokenFile(closed))
	require.NoError(t, err)
	assert.Equal(t, token, string(file))
	assert.ErrorContains(t, r.prepareToken(t.Context(), closed), "tenant/closed", "a Secret that is there already is not overwritten")
}
