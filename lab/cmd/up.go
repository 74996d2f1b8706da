package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/tandem-autoscaler/tandem/lab/plane"
)

// upConfig is the file of "lab up". What it leaves out keeps its default.
type upConfig struct {
	plane.Options `json:",inline"`
	Pools         []plane.Pool `json:"pools,omitempty"`
}

type upOptions struct {
	one, noRay                      bool
	config, venv, root, assets, dir string
}

func newUpCommand() *cobra.Command {
	o := upOptions{}
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a lab and keep it until interrupted",
		Long: "Up starts a lab with a few pools, prints how to reach it, and stays. Point kubectl, a\n" +
			"driver or an autoscaler at it. lab/README.md documents the configuration file.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.BoolVar(&o.one, "one", false, "one API server for both roles; it needs a third less memory")
	f.StringVar(&o.config, "config", "", "`file` with classes, hosts, pools and vm times (YAML)")
	f.StringVar(&o.venv, "venv", "", "`directory` of a Python environment with Ray (default .venv of the repository)")
	f.BoolVar(&o.noRay, "no-ray", false, "Ray pods only pretend to run")
	f.StringVar(&o.root, "root", "", "`directory` of the repository (default: the one that the executable is in)")
	f.StringVar(&o.assets, "assets", "", "`directory` that lab/assets.sh has filled (default bin/assets of the repository)")
	f.StringVar(&o.dir, "dir", "", "`directory` for kubeconfigs and logs, which is then kept (default: a temporary one)")
	return c
}

func (o *upOptions) run(ctx context.Context, out io.Writer) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	log, err := zap.NewDevelopment(zap.IncreaseLevel(zap.InfoLevel), zap.WithCaller(false), zap.AddStacktrace(zap.FatalLevel))
	if err != nil {
		return fmt.Errorf("making a logger: %w", err)
	}
	cfg.Log = log
	fmt.Fprintln(out, "starting the lab ...") //nolint:errcheck // The terminal.
	p, err := plane.Start(ctx, cfg.Options)
	if err != nil {
		return err
	}
	defer p.Stop()
	for _, pool := range cfg.Pools {
		if err := p.AddPool(ctx, pool); err != nil {
			return err
		}
	}
	if err := o.explain(ctx, out, p, cfg); err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Fprintln(out, "stopping the lab ...") //nolint:errcheck // The terminal.
	return nil
}

// load reads the file over the defaults and fills the paths in.
func (o *upOptions) load() (upConfig, error) {
	cfg := defaultUp()
	if o.config != "" {
		b, err := os.ReadFile(o.config)
		if err != nil {
			return cfg, fmt.Errorf("reading the configuration: %w", err)
		}
		if err := yaml.UnmarshalStrict(b, &cfg); err != nil {
			return cfg, fmt.Errorf("reading the configuration %s: %w", o.config, err)
		}
	}
	cfg.One = cfg.One || o.one
	var err error
	if o.root == "" {
		if o.root, err = repositoryRoot(); err != nil {
			return cfg, err
		}
	}
	cfg.RepoRoot, cfg.Assets, cfg.Dir = o.root, o.assets, o.dir
	if cfg.Assets == "" {
		cfg.Assets = filepath.Join(o.root, "bin", "assets")
	}
	if cfg.Dir != "" {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return cfg, fmt.Errorf("creating the directory of logs: %w", err)
		}
	}
	if !o.noRay {
		cfg.Venv = o.venv
		if cfg.Venv == "" {
			cfg.Venv = filepath.Join(o.root, ".venv")
		}
	}
	return cfg, nil
}

// defaultUp is a lab with one pool for heads, which nobody scales, and one for
// each kind of worker.
func defaultUp() upConfig {
	const gpu = "NVIDIA-H100-80GB-HBM3"
	c := upConfig{}
	c.Classes = []plane.Class{
		{Name: "cpu-large", CPU: 16, Memory: resource.MustParse("64Gi")},
		{Name: "gpu-x1", CPU: 12, Memory: resource.MustParse("120Gi"), GPU: 1, GPUType: gpu},
		{Name: "gpu-h100x4", CPU: 48, Memory: resource.MustParse("480Gi"), GPU: 4, GPUType: gpu},
	}
	c.Hosts = []plane.Host{{Count: 4, CPU: 192, Memory: resource.MustParse("2Ti"), GPU: 8, GPUType: gpu}}
	c.Pools = []plane.Pool{
		{Name: "head", Class: "cpu-large", Replicas: 1},
		{Name: "cpu", Class: "cpu-large", Min: ptr.To[int32](0), Max: ptr.To[int32](10)},
		{Name: "gpu1", Class: "gpu-x1", Min: ptr.To[int32](0), Max: ptr.To[int32](10)},
		{Name: "gpu4", Class: "gpu-h100x4", Min: ptr.To[int32](0), Max: ptr.To[int32](10)},
	}
	return c
}

// explain says how to reach everything.
func (o *upOptions) explain(ctx context.Context, out io.Writer, p *plane.Plane, cfg upConfig) error {
	management, workload := p.Kubeconfigs()
	v := p.VCenter()
	text := fmt.Sprintf(`The lab is up.
  management cluster   export KUBECONFIG=%s
  workload cluster     export KUBECONFIG=%s
`, management, workload)
	m, w, err := p.Identity(ctx)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // Interrupted.
	case err != nil:
		text += "  coordinator          no identity: " + err.Error() + "\n"
	default:
		text += fmt.Sprintf("  coordinator          management %s\n                       workload   %s\n", m, w)
	}
	text += fmt.Sprintf(`  Cluster API          namespace %s, cluster %s
  vCenter              %s
                       user %s, password %s, CA %s
  logs                 %s
`, p.Namespace(), p.ClusterName(), v.URL, v.UsernameFile, v.PasswordFile, v.CAFile, p.Dir())
	var pools strings.Builder
	for _, pool := range cfg.Pools {
		fmt.Fprintf(&pools, "  pool                 %-8s of %s\n", pool.Name, pool.Class)
	}
	text += pools.String()
	if cfg.Venv == "" {
		text += "  Ray                  pods only pretend to run\n"
	} else {
		text += fmt.Sprintf(`  Ray                  create a RayCluster in the workload cluster; its GCS is <podIP of the head>:<port in
                       rayStartParams, 6379>; drive it with RAY_ADDRESS=<that> %s/bin/python
`, cfg.Venv)
	}
	if _, err := io.WriteString(out, text+"Interrupt (Ctrl-C) ends it.\n"); err != nil {
		return fmt.Errorf("printing how to reach the lab: %w", err)
	}
	return nil
}
