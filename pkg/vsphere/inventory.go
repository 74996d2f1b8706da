package vsphere

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// inventory is what one reading of vCenter's hosts and VMs came to.
type inventory struct {
	clusters []mo.ClusterComputeResource
	hosts    []mo.HostSystem
	vms      []mo.VirtualMachine
	// pci has the PCI ids of the devices of each host, profiles the vGPU profiles
	// that it has ever offered: it names only what it could take at the moment.
	pci      map[types.ManagedObjectReference]map[string]string
	profiles map[types.ManagedObjectReference]map[string]bool
	// zoneOf is the zone of each cluster, by its id. zonesErr tells why the zones
	// cannot be told.
	zoneOf   map[string]string
	zonesErr error
}

// ownShare is the part of a host's memory, one in ownShare, that is left to the
// hypervisor: no property tells how much it takes.
const ownShare = 50

// held is what the VMs of one host hold.
type held struct{ memory, devices int64 }

// onHosts sums up what VMs that run hold on each host, and names them.
func (v *inventory) onHosts() (by map[types.ManagedObjectReference]held, names map[string]bool) {
	by, names = map[types.ManagedObjectReference]held{}, map[string]bool{}
	for i := range v.vms {
		vm := &v.vms[i]
		if vm.Runtime.Host == nil || vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
			continue
		}
		names[vm.Name] = true
		h := by[*vm.Runtime.Host]
		h.memory += vm.Runtime.MemoryOverhead
		if vm.Config != nil {
			gpus := gpusOf(vm.Config.Hardware.Device)
			h.devices += gpus
			locked := gpus > 0 || vm.Config.MemoryReservationLockedToMax != nil && *vm.Config.MemoryReservationLockedToMax
			switch a := vm.Config.MemoryAllocation; {
			case locked:
				h.memory += int64(vm.Config.Hardware.MemoryMB) << 20
			case a != nil && a.Reservation != nil:
				h.memory += *a.Reservation << 20
			}
		}
		by[*vm.Runtime.Host] = h
	}
	return by, names
}

// gpusOf counts the devices of a VM that take a GPU. Several shares of one GPU
// count as one each: rather too few GPUs are free than too many.
func gpusOf(devices []types.BaseVirtualDevice) (n int64) {
	for _, d := range devices {
		p, ok := d.(*types.VirtualPCIPassthrough)
		if !ok {
			continue
		}
		switch b := p.Backing.(type) {
		case *types.VirtualPCIPassthroughVmiopBackingInfo:
			n++
		case *types.VirtualPCIPassthroughDynamicBackingInfo:
			if slices.ContainsFunc(b.AllowedDevice, func(a types.VirtualPCIPassthroughAllowedDevice) bool {
				_, gpu := directPath(int64(a.VendorId), int64(a.DeviceId), "")
				return gpu
			}) {
				n++
			}
		}
	}
	return n
}

// room is what is free on a host, or why that is not known.
func (v *inventory) room(h *mo.HostSystem, held held) (planner.HostRoom, error) {
	if h.Summary.Hardware == nil || h.Summary.Hardware.MemorySize <= 0 {
		return planner.HostRoom{}, fmt.Errorf("the hardware of host %s cannot be read", h.Name)
	}
	memory := h.Summary.Hardware.MemorySize
	out := planner.HostRoom{Count: 1, Memory: max(0, memory-memory/ownShare-held.memory)}
	devices, taken := map[string]bool{}, map[string]bool{} // by PCI address
	names := map[string]bool{}
	if h.Config == nil {
		return planner.HostRoom{}, fmt.Errorf("the devices of host %s cannot be read", h.Name)
	}
	var largest int64 // frame buffer, in KB
	for _, g := range h.Config.GraphicsInfo {
		if g.GraphicsType == "sharedDirect" {
			devices[g.PciId] = true
			largest = max(largest, g.MemorySizeInKB)
			if len(g.Vm) > 0 {
				taken[g.PciId] = true
			}
		}
	}
	for _, base := range h.Config.PciPassthruInfo {
		p := base.GetHostPciPassthruInfo()
		if kind, gpu := v.pci[h.Self][p.Id]; gpu && p.PassthruActive {
			devices[p.Id], names[kind] = true, true
		}
	}
	for _, b := range h.Config.AssignableHardwareBinding {
		for id := range devices { // the id of a binding ends with the address
			if strings.HasSuffix(b.InstanceId, id) {
				taken[id] = true
			}
		}
	}
	for profile := range v.profiles[h.Self] {
		if wholeGPU(profile, largest) {
			names[profile] = true
		}
	}
	out.GPUs = max(0, int64(len(devices))-max(int64(len(taken)), held.devices))
	for n := range names {
		out.Devices = append(out.Devices, n)
	}
	slices.Sort(out.Devices)
	return out, nil
}

// profileRE is the end of a vGPU profile's name: the frame buffer in GB and the
// series, such as 80c in grid_h100xm-80c and in nvidia_a100-7-80c.
var profileRE = regexp.MustCompile(`-(\d{1,4})[a-z]$`)

// wholeGPU tells whether only one VM with the profile fits on a GPU. A profile
// that shares one, or whose size is not known, is not counted: how many fit
// depends on what runs there.
func wholeGPU(profile string, frameBufferKB int64) bool {
	m := profileRE.FindStringSubmatch(strings.ToLower(profile))
	if m == nil || frameBufferKB <= 0 {
		return false
	}
	gb, err := strconv.ParseInt(m[1], 10, 64)
	return err == nil && 2*gb<<20 > frameBufferKB
}

// takesVMs tells whether new VMs may be put on the host.
func takesVMs(h *mo.HostSystem) bool {
	r := &h.Runtime
	return r.ConnectionState == types.HostSystemConnectionStateConnected && r.PowerState != types.HostSystemPowerStateStandBy &&
		!r.InMaintenanceMode && (r.InQuarantineMode == nil || !*r.InQuarantineMode)
}

// zones sums up what is free by zone. Hosts of clusters without a zone count for
// nobody where there are zones; without zones, all hosts count for every group if
// they are of one cluster, and else nothing is known.
func (v *inventory) zones() (out []planner.HostZone, err error) {
	by, _ := v.onHosts()
	zones := map[string]*planner.HostZone{}
	names := map[types.ManagedObjectReference]string{} // zone by cluster
	for i := range v.clusters {
		c := &v.clusters[i]
		zone, ok := v.zoneOf[c.Self.Value]
		if !ok && len(v.zoneOf) > 0 {
			continue
		}
		names[c.Self] = zone
		zones[zone] = &planner.HostZone{Name: zone}
	}
	if len(v.zoneOf) == 0 && len(v.clusters) > 1 {
		why := fmt.Sprintf("vCenter does not tell which of its %d clusters is in which zone", len(v.clusters))
		if v.zonesErr != nil {
			why += ": " + v.zonesErr.Error()
		}
		return []planner.HostZone{{Unknown: clipText(why)}}, v.zonesErr
	}
	seen := map[string]bool{}
	for i := range v.hosts {
		h := &v.hosts[i]
		if h.Parent == nil {
			continue
		}
		zone, ok := names[*h.Parent]
		if !ok {
			continue
		}
		seen[zone] = true
		if !takesVMs(h) {
			continue
		}
		room, trouble := v.room(h, by[h.Self])
		if trouble != nil {
			zones[zone].Unknown, err = trouble.Error(), trouble
			continue
		}
		zones[zone].Hosts = append(zones[zone].Hosts, room)
	}
	for name, z := range zones {
		if !seen[name] && z.Unknown == "" {
			z.Unknown = "no host of it can be seen"
			err = fmt.Errorf("no host of zone %q can be seen", name)
		}
		z.Hosts = joined(z.Hosts)
		out = append(out, *z)
	}
	slices.SortFunc(out, func(a, b planner.HostZone) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// joined makes one entry of equal hosts.
func joined(in []planner.HostRoom) (out []planner.HostRoom) {
	slices.SortFunc(in, func(a, b planner.HostRoom) int {
		return cmp.Or(cmp.Compare(a.GPUs, b.GPUs), cmp.Compare(a.Memory, b.Memory), slices.Compare(a.Devices, b.Devices))
	})
	for _, h := range in {
		if n := len(out); n > 0 && out[n-1].GPUs == h.GPUs && out[n-1].Memory == h.Memory && slices.Equal(out[n-1].Devices, h.Devices) {
			out[n-1].Count += h.Count
			continue
		}
		out = append(out, h)
	}
	return out
}
