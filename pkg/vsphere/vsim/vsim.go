package vsim

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/namespace"
	_ "github.com/vmware/govmomi/vapi/namespace/simulator" // registers the VM class endpoints
	"github.com/vmware/govmomi/vapi/rest"
	_ "github.com/vmware/govmomi/vapi/simulator" // registers the session endpoints
	"github.com/vmware/govmomi/vapi/vcenter/consumptiondomains/associations"
	_ "github.com/vmware/govmomi/vapi/vcenter/consumptiondomains/simulator" // registers the zone endpoints
	"github.com/vmware/govmomi/vapi/vcenter/consumptiondomains/zones"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// callTimeout bounds the calls that set the simulator up and take it down.
const callTimeout = 30 * time.Second

// running guards vcsim's map of VM classes, which is one for the process.
var running atomic.Bool

// Host is a number of equal hosts.
type Host struct {
	Count int
	// CPUs are cores, MemoryBytes is the memory of one host.
	CPUs        int
	MemoryBytes int64
	// GPUs is the number of devices, Profile the vGPU profile that each offers as
	// a whole. Each has 80 GB.
	GPUs    int
	Profile string
}

// frameBufferKB is the memory of a simulated GPU.
const frameBufferKB = 80 << 20

// Class is a VM class.
type Class struct {
	Name     string
	CPUs     int64
	MemoryMB int64
	// VGPUs lists one vGPU profile for each device. More than one device is
	// written into the config spec, as a real vCenter does.
	VGPUs []string
	// DirectPath lists devices that are passed through, by PCI ids.
	DirectPath []PCI
}

// PCI names a kind of device.
type PCI struct{ Vendor, Device int64 }

// Options of [Start]. The zero value has one host without GPUs and no classes.
type Options struct {
	Hosts []Host
	// Clusters is how many clusters there are with these hosts each; zero is one.
	// Zones names the zone of each; shorter or nil: the others are in none.
	Clusters int
	Zones    []string
	Classes  []Class
	// Username and Password are "user" and "pass" if empty.
	Username, Password string
}

// Server is a running simulator.
type Server struct {
	// URL is the address for a client, without credentials.
	URL string
	// Username and Password open a session.
	Username, Password string
	// Thumbprint is the SHA-256 thumbprint of its certificate, CAFile the path of
	// the certificate itself; the file goes with the server.
	Thumbprint, CAFile string

	model  *simulator.Model
	server *simulator.Server
}

// Start builds the simulator. It refuses to while another one runs.
func Start(o Options) (*Server, error) {
	if !running.CompareAndSwap(false, true) {
		return nil, errors.New("starting vcsim: another one runs in this process")
	}
	s, err := start(o)
	if err != nil {
		running.Store(false)
		return nil, fmt.Errorf("starting vcsim: %w", err)
	}
	return s, nil
}

func start(o Options) (*Server, error) {
	if o.Username == "" {
		o.Username, o.Password = "user", "pass"
	}
	if len(o.Hosts) == 0 {
		o.Hosts = []Host{{Count: 1, CPUs: 16, MemoryBytes: 64 << 30}}
	}
	m := simulator.VPX()
	m.Datacenter, m.Cluster, m.ClusterHost, m.Host, m.Machine = 1, max(1, o.Clusters), 0, 0, 0
	for _, h := range o.Hosts {
		m.ClusterHost += h.Count
	}
	if err := m.Create(); err != nil {
		return nil, fmt.Errorf("creating the inventory: %w", err)
	}
	equip(m, o.Hosts)
	m.Service.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	m.Service.RegisterEndpoints = true
	m.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(o.Username, o.Password)}
	server := m.Service.NewServer()
	s := &Server{Username: o.Username, Password: o.Password, Thumbprint: soap.ThumbprintSHA256(server.Certificate()), model: m, server: server}
	u := *server.URL
	u.User = nil
	s.URL = u.String()
	var err error
	if s.CAFile, err = server.CertificateFile(); err == nil {
		err = errors.Join(s.SetClasses(o.Classes), s.setZones(o.Zones))
	}
	if err != nil {
		server.Close()
		m.Remove()
		return nil, err
	}
	return s, nil
}

// equip gives every simulated host its own hardware, because vcsim's hosts share
// theirs, and names the cluster: vcsim takes those whose name starts with WCP-
// for Supervisors.
func equip(m *simulator.Model, hosts []Host) {
	for i, e := range m.Service.Context.Map.All("ClusterComputeResource") {
		e.Entity().Name = "WCP-gpu"
		if i > 0 {
			e.Entity().Name += fmt.Sprintf("-%d", i)
		}
	}
	var plan []Host
	for _, h := range hosts {
		for range h.Count {
			plan = append(plan, h)
		}
	}
	for i, e := range m.Service.Context.Map.All("HostSystem") {
		h, ok := e.(*simulator.HostSystem)
		if !ok || len(plan) == 0 {
			continue
		}
		want := plan[i%len(plan)]
		hardware, summary := *h.Hardware, *h.Summary.Hardware
		hardware.CpuInfo.NumCpuCores, hardware.CpuInfo.NumCpuThreads = int16(want.CPUs), int16(2*want.CPUs) //nolint:gosec // a test's own number
		hardware.MemorySize = want.MemoryBytes
		summary.NumCpuCores, summary.NumCpuThreads = hardware.CpuInfo.NumCpuCores, hardware.CpuInfo.NumCpuThreads
		summary.MemorySize = want.MemoryBytes
		config := *h.Config
		config.GraphicsInfo, config.PciPassthruInfo, config.SharedPassthruGpuTypes = nil, nil, nil
		hardware.PciDevice = nil
		for g := range want.GPUs {
			id := fmt.Sprintf("0000:%02x:00.0", 0x10+g)
			hardware.PciDevice = append(hardware.PciDevice, types.HostPciDevice{Id: id, VendorId: 0x10de, DeviceId: 0x2330, VendorName: "NVIDIA Corporation"})
			config.GraphicsInfo = append(config.GraphicsInfo, types.HostGraphicsInfo{DeviceName: want.Profile, VendorName: "NVIDIA Corporation", PciId: id, GraphicsType: "sharedDirect", MemorySizeInKB: frameBufferKB})
			config.PciPassthruInfo = append(config.PciPassthruInfo, &types.HostPciPassthruInfo{Id: id, PassthruCapable: true, PassthruEnabled: true, PassthruActive: true})
		}
		if want.GPUs > 0 && want.Profile != "" {
			config.SharedPassthruGpuTypes = []string{want.Profile}
		}
		h.Hardware, h.Summary.Hardware, h.Config = &hardware, &summary, &config
	}
}

// SetClasses replaces all VM classes.
func (s *Server) SetClasses(classes []Class) error {
	return s.call(func(ctx context.Context, _ *vim25.Client, c *rest.Client) error {
		m := namespace.NewManager(c)
		old, err := m.ListVmClasses(ctx)
		if err != nil {
			return fmt.Errorf("listing the VM classes: %w", err)
		}
		for i := range old {
			if err := m.DeleteVmClass(ctx, old[i].Id); err != nil {
				return fmt.Errorf("deleting VM class %s: %w", old[i].Id, err)
			}
		}
		for i := range classes {
			spec, err := classes[i].spec()
			if err == nil {
				err = m.CreateVmClass(ctx, spec)
			}
			if err != nil {
				return fmt.Errorf("creating VM class %s: %w", classes[i].Name, err)
			}
		}
		return nil
	})
}

// spec writes the class as vcsim takes it.
func (c Class) spec() (namespace.VirtualMachineClassCreateSpec, error) {
	out := namespace.VirtualMachineClassCreateSpec{Id: c.Name, CpuCount: c.CPUs, MemoryMb: c.MemoryMB}
	for _, d := range c.DirectPath {
		out.Devices.DirectPathIoDevices = append(out.Devices.DirectPathIoDevices, namespace.DirectPathIoDevice{VendorId: d.Vendor, DeviceId: d.Device})
	}
	if len(c.VGPUs) == 1 && len(c.DirectPath) == 0 {
		out.Devices.VgpuDevices = []namespace.VgpuDevice{{ProfileName: c.VGPUs[0]}}
		return out, nil
	}
	if len(c.VGPUs) == 0 {
		return out, nil
	}
	type device map[string]any
	changes := make([]device, 0, len(c.VGPUs))
	for i, profile := range c.VGPUs {
		changes = append(changes, device{
			"_typeName": "VirtualDeviceConfigSpec", "operation": "add",
			"device": device{
				"_typeName": "VirtualPCIPassthrough", "key": -200 - i,
				"backing": device{"_typeName": "VirtualPCIPassthroughVmiopBackingInfo", "vgpu": profile},
			},
		})
	}
	raw, err := json.Marshal(device{"_typeName": "VirtualMachineConfigSpec", "deviceChange": changes})
	out.ConfigSpec = raw
	return out, err
}

// setZones puts clusters in zones, in the order of their ids.
func (s *Server) setZones(names []string) error {
	all := s.model.Service.Context.Map.All("ClusterComputeResource")
	clusters := make([]string, 0, len(all))
	for _, e := range all {
		clusters = append(clusters, e.Reference().Value)
	}
	slices.Sort(clusters)
	return s.call(func(_ context.Context, _ *vim25.Client, c *rest.Client) error {
		made := map[string]bool{}
		for i, name := range names {
			if !made[name] {
				if _, err := zones.NewManager(c).CreateZone(zones.CreateSpec{Zone: name}); err != nil {
					return fmt.Errorf("making zone %s: %w", name, err)
				}
			}
			made[name] = true
			if err := associations.NewManager(c).AddAssociations(name, clusters[i]); err != nil {
				return fmt.Errorf("putting a cluster in zone %s: %w", name, err)
			}
		}
		return nil
	})
}

// EndSessions ends REST sessions by their ids, as vCenter does after idleness or a
// day: the next call with one of them is refused.
func (s *Server) EndSessions(ids ...string) error {
	return s.call(func(ctx context.Context, c *vim25.Client, _ *rest.Client) error {
		for _, id := range ids {
			victim := rest.NewClient(c)
			victim.SessionID(id)
			if err := victim.Logout(ctx); err != nil {
				return fmt.Errorf("ending a session: %w", err)
			}
		}
		return nil
	})
}

// Close stops the simulator. It may be called once.
func (s *Server) Close() {
	_ = s.SetClasses(nil) // should that fail, the next Start empties the map
	s.server.Close()
	s.model.Remove()
	running.Store(false)
}

// call runs do with a session of its own.
func (s *Server) call(do func(context.Context, *vim25.Client, *rest.Client) error) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	u.User = url.UserPassword(s.Username, s.Password)
	transport := soap.NewClient(u, false)
	if err := transport.SetRootCAs(s.CAFile); err != nil {
		return err
	}
	c, err := vim25.NewClient(ctx, transport)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer c.CloseIdleConnections()
	r := rest.NewClient(c)
	if err := r.Login(ctx, u.User); err != nil {
		return fmt.Errorf("logging in: %w", err)
	}
	defer r.CloseIdleConnections()
	err = do(ctx, c, r)
	return errors.Join(err, r.Logout(ctx))
}
