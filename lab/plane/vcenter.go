package plane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/simulator"
	vapinamespace "github.com/vmware/govmomi/vapi/namespace"
	_ "github.com/vmware/govmomi/vapi/namespace/simulator" // Serves VM classes.
	"github.com/vmware/govmomi/vapi/rest"
	_ "github.com/vmware/govmomi/vapi/simulator" // Serves the sessions that they need.
	"github.com/vmware/govmomi/vim25/types"
)

const (
	vcenterUser     = "lab@vsphere.local"
	vcenterPassword = "lab-password" // guards a simulator on loopback
	vcenterTimeout  = time.Minute

	// An NVIDIA H100, as PCI names it.
	pciVendor = 0x10de
	pciDevice = 0x2330
)

// vcenter is the simulated vCenter: hosts with GPUs, and the VM classes. The
// simulator keeps its classes in a package variable, so there is one catalogue
// per process.
type vcenter struct {
	model  *simulator.Model
	server *simulator.Server
	access VCenter
}

// startVCenter starts the simulator.
func (p *Plane) startVCenter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, vcenterTimeout)
	defer cancel()
	m := simulator.VPX()
	m.Datacenter, m.Cluster, m.Host, m.Machine = 1, 1, 0, 0
	m.ClusterHost = 1
	if n := hostCount(p.options.Hosts); n > 0 {
		m.ClusterHost = n
	}
	if err := m.Create(); err != nil {
		return fmt.Errorf("building the simulated vCenter: %w", err)
	}
	equip(m, p.options.Hosts)
	m.Service.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	m.Service.RegisterEndpoints = true
	m.Service.Listen = &url.URL{
		Host: "127.0.0.1:" + strconv.Itoa(p.block.Port(portVCenter)),
		User: url.UserPassword(vcenterUser, vcenterPassword),
	}
	v := &vcenter{model: m, server: m.Service.NewServer()}
	p.vcenter = v
	if err := v.writeAccess(p.path); err != nil {
		return err
	}
	if err := v.fill(ctx, p.options.Classes); err != nil {
		return fmt.Errorf("filling the simulated vCenter: %w", err)
	}
	return nil
}

func hostCount(hosts []Host) int {
	n := 0
	for _, h := range hosts {
		n += h.Count
	}
	return n
}

// equip gives the simulator's hosts their CPUs, memory and GPUs. They share
// their hardware until each has its own.
func equip(m *simulator.Model, hosts []Host) {
	all := m.Service.Context.Map.All("HostSystem")
	i := 0
	for _, h := range hosts {
		for range h.Count {
			if s, ok := all[i].(*simulator.HostSystem); ok {
				equipHost(s, h)
			}
			i++
		}
	}
}

func equipHost(s *simulator.HostSystem, h Host) {
	hardware, summary := *s.Hardware, *s.Summary.Hardware
	hardware.CpuInfo.NumCpuCores, hardware.CpuInfo.NumCpuThreads = int16(h.CPU), int16(2*h.CPU) //nolint:gosec // Hosts have hundreds of cores.
	hardware.MemorySize = h.Memory.Value()
	summary.NumCpuCores, summary.NumCpuThreads = hardware.CpuInfo.NumCpuCores, hardware.CpuInfo.NumCpuThreads
	summary.MemorySize = hardware.MemorySize
	s.Hardware, s.Summary.Hardware = &hardware, &summary
	if h.GPU == 0 {
		return
	}
	config := *s.Config
	config.GraphicsInfo, config.PciPassthruInfo = nil, nil
	for g := range h.GPU {
		id := fmt.Sprintf("0000:%02x:00.0", 0x10+g)
		config.GraphicsInfo = append(config.GraphicsInfo, types.HostGraphicsInfo{
			DeviceName: h.GPUType, VendorName: "NVIDIA Corporation", PciId: id, GraphicsType: "sharedDirect", MemorySizeInKB: 80 << 20,
		})
		config.PciPassthruInfo = append(config.PciPassthruInfo, &types.HostPciPassthruInfo{
			Id: id, PassthruEnabled: true, PassthruCapable: true, PassthruActive: true,
		})
	}
	s.Config = &config
}

func (v *vcenter) writeAccess(path func(string) string) error {
	v.access = VCenter{
		URL:          v.server.URL.Scheme + "://" + v.server.URL.Host + "/sdk",
		UsernameFile: path("vcenter-username"), PasswordFile: path("vcenter-password"), CAFile: path("vcenter-ca.crt"),
	}
	ca, err := v.server.CertificateFile()
	if err != nil {
		return fmt.Errorf("reading the certificate of the simulated vCenter: %w", err)
	}
	defer os.Remove(ca)       //nolint:errcheck // A copy in the temporary directory.
	b, err := os.ReadFile(ca) //nolint:gosec // The simulator's own file.
	if err != nil {
		return fmt.Errorf("reading the certificate of the simulated vCenter: %w", err)
	}
	if err := errors.Join(
		os.WriteFile(v.access.UsernameFile, []byte(vcenterUser), 0o600),
		os.WriteFile(v.access.PasswordFile, []byte(vcenterPassword), 0o600),
		os.WriteFile(v.access.CAFile, b, 0o600)); err != nil { //nolint:gosec // In the directory of this lab.
		return fmt.Errorf("writing the credentials of the simulated vCenter: %w", err)
	}
	return nil
}

// fill renames the cluster, since only clusters with this prefix count as
// enabled for workloads, and creates the VM classes.
func (v *vcenter) fill(ctx context.Context, classes []Class) error {
	u := *v.server.URL
	u.User = url.UserPassword(vcenterUser, vcenterPassword)
	c, err := govmomi.NewClient(ctx, &u, true)
	if err != nil {
		return fmt.Errorf("logging in: %w", err)
	}
	defer c.Logout(ctx) //nolint:errcheck // The simulator forgets sessions with itself.
	cluster, err := find.NewFinder(c.Client).ClusterComputeResource(ctx, "*")
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	task, err := cluster.Rename(ctx, "WCP-"+clusterName)
	if err == nil {
		err = task.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("renaming the cluster: %w", err)
	}
	r := rest.NewClient(c.Client)
	if err := r.Login(ctx, u.User); err != nil {
		return fmt.Errorf("logging in to the automation API: %w", err)
	}
	defer r.Logout(ctx) //nolint:errcheck // As above.
	m := vapinamespace.NewManager(r)
	old, err := m.ListVmClasses(ctx)
	if err != nil {
		return fmt.Errorf("listing VM classes: %w", err)
	}
	for _, o := range old {
		if err := m.DeleteVmClass(ctx, o.Id); err != nil {
			return fmt.Errorf("deleting VM class %s: %w", o.Id, err)
		}
	}
	for _, class := range classes {
		if err := m.CreateVmClass(ctx, vmClassSpec(class)); err != nil {
			return fmt.Errorf("creating VM class %s: %w", class.Name, err)
		}
	}
	return nil
}

// vmClassSpec has one whole device per GPU. A vGPU profile could not be listed
// twice.
func vmClassSpec(c Class) vapinamespace.VirtualMachineClassCreateSpec {
	s := vapinamespace.VirtualMachineClassCreateSpec{Id: c.Name, CpuCount: c.CPU, MemoryMb: c.Memory.Value() >> 20}
	for range c.GPU {
		s.Devices.DirectPathIoDevices = append(s.Devices.DirectPathIoDevices,
			vapinamespace.DirectPathIoDevice{VendorId: pciVendor, DeviceId: pciDevice, CustomLabel: c.GPUType})
	}
	return s
}

// stop ends the server. A nil vcenter is stopped already.
func (v *vcenter) stop() {
	if v != nil {
		v.server.Close()
		v.model.Remove()
	}
}
