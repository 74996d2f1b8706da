package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Modes lists what rayClusters.defaultMode may be.
func Modes() []string { return []string{"auto", "follow", "lead", "off"} }

// Validate reports everything that is wrong with the configuration, joined,
// each as a [Problem] with the path of its field. It looks at no file and
// calls nobody.
func (c *Configuration) Validate() error {
	var ps problems
	c.validate(&ps)
	return ps.err()
}

func (c *Configuration) validate(ps *problems) {
	if c.APIVersion != APIVersion {
		ps.add("apiVersion", fmt.Sprintf("is %q; this program reads %s", clip(c.APIVersion), APIVersion))
	}
	if c.Kind != Kind {
		ps.add("kind", fmt.Sprintf("is %q; this program reads %s", clip(c.Kind), Kind))
	}
	ps.label("management.namespace", c.Management.Namespace)
	ps.objectName("management.clusterName", c.Management.ClusterName)
	c.RayClusters.validate(ps)
	c.Demand.validate(ps)
	c.Catalogue.validate(ps)
	ps.positive("loop.interval", c.Loop.Interval)
	c.Growth.validate(ps)
	c.Removal.validate(ps)
	ps.tenants(c.Tenants)
	c.LeaderElection.validate(ps)
	c.Server.validate(ps)
}

func (r *RayClusters) validate(ps *problems) {
	seen := map[string]bool{}
	for i, ns := range r.Namespaces {
		at := "rayClusters.namespaces[" + strconv.Itoa(i) + "]"
		ps.label(at, ns)
		if seen[ns] {
			ps.add(at, "is listed twice")
		}
		seen[ns] = true
	}
	if !slices.Contains(Modes(), r.DefaultMode) {
		ps.add("rayClusters.defaultMode", fmt.Sprintf("is %q; want one of %s", clip(r.DefaultMode), strings.Join(Modes(), ", ")))
	}
	owner := map[[2]string]int{}
	for i := range r.Credentials {
		cr := &r.Credentials[i]
		at := "rayClusters.credentials[" + strconv.Itoa(i) + "]"
		cr.validate(ps, at)
		key := [2]string{cr.Namespace, cr.Name}
		if first, twice := owner[key]; twice {
			ps.add(at, fmt.Sprintf("is for %s/%s, as rayClusters.credentials[%d] is", clip(cr.Namespace), clip(cr.Name), first))
			continue
		}
		owner[key] = i
	}
}

func (g *GCSCredentials) validate(ps *problems, at string) {
	ps.label(at+".namespace", g.Namespace)
	if g.Name != "*" {
		ps.objectName(at+".name", g.Name)
	}
	if g.TokenFile == "" && g.CAFile == "" && g.CertFile == "" && g.KeyFile == "" {
		ps.add(at, "names no file")
	}
	if (g.CertFile == "") != (g.KeyFile == "") {
		ps.add(at, "certFile and keyFile go together")
	}
}

func (d *Demand) validate(ps *problems) {
	ps.positive("demand.pollInterval", d.PollInterval)
	ps.notNegative("demand.settle", d.Settle)
	ps.positive("demand.timeout", d.Timeout)
	ps.positive("demand.staleAfter", d.StaleAfter)
	ps.notNegative("demand.constraintTTL", d.ConstraintTTL)
	ps.below("demand.settle", d.Settle, "demand.staleAfter", d.StaleAfter)
	ps.below("demand.pollInterval", d.PollInterval, "demand.staleAfter", d.StaleAfter)
}

func (g *Growth) validate(ps *problems) {
	ps.positive("growth.provisionDeadline", g.ProvisionDeadline)
	ps.positive("growth.backoffInitial", g.BackoffInitial)
	ps.positive("growth.backoffMax", g.BackoffMax)
	if g.BackoffMax.Duration < g.BackoffInitial.Duration {
		ps.add("growth.backoffMax", fmt.Sprintf("is %s, below growth.backoffInitial, which is %s", short(g.BackoffMax), short(g.BackoffInitial)))
	}
	ps.count("growth.maxPerTick", g.MaxPerTick)
	ps.count("growth.maxMachines", g.MaxMachines)
	ps.count("growth.maxPerGroup", g.MaxPerGroup)
	ps.count("growth.maxPerHour", g.MaxPerHour)
	ps.count("growth.maxAttempts", g.MaxAttempts)
	if _, err := ParsePrice(g.GPUNodeFee); g.GPUNodeFee != "" && err != nil {
		ps.add("growth.gpuNodeFee", fmt.Sprintf("%q: %v", clip(g.GPUNodeFee), err))
	}
}

func (l *LeaderElection) validate(ps *problems) {
	if !l.Enabled {
		return
	}
	ps.label("leaderElection.namespace", l.Namespace)
	ps.objectName("leaderElection.name", l.Name)
	ps.positive("leaderElection.retryPeriod", l.RetryPeriod)
	// A Lease counts its duration in whole seconds, at least one.
	if l.LeaseDuration.Seconds() < 1 {
		ps.add("leaderElection.leaseDuration", "is "+short(l.LeaseDuration)+"; want 1s or more")
	}
	ps.below("leaderElection.renewDeadline", l.RenewDeadline, "leaderElection.leaseDuration", l.LeaseDuration)
	// client-go stretches the retry period by up to leaderelection.JitterFactor
	// (1.2) and refuses a deadline that such a period would miss.
	if l.RenewDeadline.Duration <= l.RetryPeriod.Duration+l.RetryPeriod.Duration/5 {
		ps.add("leaderElection.renewDeadline", fmt.Sprintf("is %s; want more than 1.2 times leaderElection.retryPeriod, which is %s", short(l.RenewDeadline), short(l.RetryPeriod)))
	}
}

func (s *Server) validate(ps *problems) {
	if s.Address == "0" {
		return
	}
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		ps.add("server.address", fmt.Sprintf("is %q; want host:port, or \"0\" for no server", clip(s.Address)))
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		ps.add("server.address", fmt.Sprintf("has port %q; want a number up to 65535", clip(port)))
	}
}

// label wants the name of a namespace.
func (ps *problems) label(path, value string) {
	ps.kubernetesName(path, value, validation.IsDNS1123Label)
}

// objectName wants the name of an object.
func (ps *problems) objectName(path, value string) {
	ps.kubernetesName(path, value, validation.IsDNS1123Subdomain)
}

func (ps *problems) kubernetesName(path, value string, objections func(string) []string) {
	if value == "" {
		ps.add(path, "required")
		return
	}
	if len(objections(value)) > 0 {
		ps.add(path, fmt.Sprintf("%q is not a Kubernetes name: want lower-case letters, digits and '-'", clip(value)))
	}
}

func (ps *problems) positive(path string, v metav1.Duration) {
	if v.Duration <= 0 {
		ps.add(path, "is "+short(v)+"; want more than zero")
	}
}

func (ps *problems) notNegative(path string, v metav1.Duration) {
	if v.Duration < 0 {
		ps.add(path, "is "+short(v)+"; want zero or more")
	}
}

// below wants v to be smaller than the value of another field. Where that one
// is not positive, its own problem is the one to mend.
func (ps *problems) below(path string, v metav1.Duration, other string, limit metav1.Duration) {
	if limit.Duration > 0 && v.Duration >= limit.Duration {
		ps.add(path, fmt.Sprintf("is %s; want less than %s, which is %s", short(v), other, short(limit)))
	}
}

func (ps *problems) count(path string, v int64) {
	if v < 0 {
		ps.add(path, fmt.Sprintf("is %d; want zero (no bound) or more", v))
	}
}

// short writes a duration without the zero parts that Go adds: 15m, not 15m0s.
func short(v metav1.Duration) string {
	s := v.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
