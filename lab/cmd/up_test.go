package cmd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUpConfiguration(t *testing.T) {
	for name, tt := range map[string]struct{ text, err string }{
		"empty": {"", ""},
		"all of it": {`
one: true
classes: [{name: small, cpu: 2, memory: 8Gi, gpu: 1, gpuType: T4}]
hosts: [{count: 2, cpu: 32, memory: 128Gi, gpu: 2, gpuType: T4}]
vm: {boot: 90s, node: 30s, jitter: "0.2"}
maxStarting: 2
imageTime: 5s
pools: [{name: p, class: small, min: 0, max: 3, labels: {a: b}, taints: [{key: k, effect: NoSchedule}], boot: 1s}]
`, ""},
		"an unknown field":        {"classs: []", "unknown field"},
		"an unknown field inside": {"pools: [{nam: x}]", "unknown field"},
		"not a quantity":          {"classes: [{name: a, cpu: 1, memory: lots}]", "quantities must match"},
		"not a duration":          {"vm: {boot: soon}", "invalid duration"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "up.yaml")
			require.NoError(t, os.WriteFile(file, []byte(tt.text), 0o600))
			o := upOptions{config: file, root: "/repo", noRay: true}
			cfg, err := o.load()
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "/repo/bin/assets", cfg.Assets)
			assert.Empty(t, cfg.Venv)
			require.NoError(t, cfg.Validate())
			if name == "all of it" {
				assert.Equal(t, 90*time.Second, cfg.VM.Boot.Duration)
				assert.Equal(t, "p", cfg.Pools[0].Name)
				assert.True(t, cfg.One)
			} else {
				assert.Len(t, cfg.Pools, 4)
			}
		})
	}
	o := upOptions{config: "/nonexistent"}
	_, err := o.load()
	require.ErrorContains(t, err, "reading the configuration")
}
