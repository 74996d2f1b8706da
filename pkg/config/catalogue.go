package config

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

func (c *Catalogue) validate(ps *problems) {
	ps.positive("catalogue.refreshInterval", c.RefreshInterval)
	if c.VCenter != nil {
		c.VCenter.validate(ps)
	}
	alone := !c.VirtualMachineClasses && c.VCenter == nil
	owner := map[string]int{}
	for i := range c.Classes {
		class := &c.Classes[i]
		at := "catalogue.classes[" + strconv.Itoa(i) + "]"
		class.validate(ps, at, alone)
		if first, twice := owner[class.Name]; twice {
			ps.add(at, fmt.Sprintf("is for class %q, as catalogue.classes[%d] is", clip(class.Name), first))
			continue
		}
		owner[class.Name] = i
	}
}

// thumbprint is a SHA-1 or SHA-256 fingerprint as vCenter's tools print it.
var thumbprint = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){19}((:[0-9A-Fa-f]{2}){12})?$`)

func (v *VCenter) validate(ps *problems) {
	const at = "catalogue.vcenter."
	ps.vCenterURL(at+"url", v.URL)
	if v.UsernameFile == "" {
		ps.add(at+"usernameFile", "required")
	}
	if v.PasswordFile == "" {
		ps.add(at+"passwordFile", "required")
	}
	if v.Thumbprint != "" && !thumbprint.MatchString(v.Thumbprint) {
		ps.add(at+"thumbprint", "is no SHA-1 or SHA-256 fingerprint: want 20 or 32 pairs of hex digits with colons between")
	}
	if v.Insecure && (v.Thumbprint != "" || v.CAFile != "") {
		ps.add(at+"insecure", "contradicts caFile and thumbprint: with it nothing is verified")
	}
}

// vCenterURL wants https, except on the machine itself, where simulators run.
// A password in the URL would end up in logs.
func (ps *problems) vCenterURL(path, text string) {
	if text == "" {
		ps.add(path, "required")
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		ps.add(path, "want a URL such as https://vcenter.example.com/sdk")
	case u.User != nil:
		ps.add(path, "carries a user name or password; use usernameFile and passwordFile")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
	default:
		ps.add(path, fmt.Sprintf("has scheme %q; want https (http is for loopback addresses only)", clip(u.Scheme)))
	}
}

// loopback tells whether a host can only be this machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// validate wants a whole class where no source could have the rest of it.
func (c *Class) validate(ps *problems, at string, alone bool) {
	if c.Name == "" {
		ps.add(at+".name", "required")
	}
	if c.Price != "" {
		switch micro, err := ParsePrice(c.Price); {
		case err != nil:
			ps.add(at+".price", fmt.Sprintf("%q: %v", clip(c.Price), err))
		case micro == 0:
			ps.add(at+".price", "is zero; leave it out to have one derived from the size")
		}
	}
	ps.amount(at+".cpu", c.CPU, milli)
	ps.amount(at+".memory", c.Memory, whole)
	ps.amount(at+".gpu", c.GPU, whole)
	if (c.CPU == "") != (c.Memory == "") || (alone && c.CPU == "") {
		ps.add(at, "cpu and memory go together, and both are needed where no source has the class")
	}
}

// The finest amounts that the planner counts, as powers of ten.
const (
	milli resource.Scale = resource.Milli
	whole resource.Scale = 0
)

// amount wants a positive Kubernetes quantity that is a multiple of its unit
// and small enough to be counted. Empty is no problem.
func (ps *problems) amount(path, text string, unit resource.Scale) {
	if text == "" {
		return
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		ps.add(path, fmt.Sprintf("%q is not a Kubernetes quantity", clip(text)))
		return
	}
	exact := q.DeepCopy()
	switch {
	case q.Sign() <= 0:
		ps.add(path, fmt.Sprintf("is %s; want more than zero", clip(text)))
	case !exact.RoundUp(unit):
		ps.add(path, fmt.Sprintf("is %s, finer than can be counted", clip(text)))
	case q.CmpInt64(math.MaxInt64/1000) >= 0:
		ps.add(path, fmt.Sprintf("is %s, more than can be counted", clip(text)))
	}
}
