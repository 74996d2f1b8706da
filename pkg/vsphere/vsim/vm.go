package vsim

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// VM is a VM to be put on a host.
type VM struct {
	Name string
	// Host is the index of the host, all clusters' in the order of their ids.
	Host     int
	MemoryMB int64
	// GPUs is how many devices it takes, each with the vGPU profile.
	GPUs    int
	Profile string
	// ReservedMB is what it reserves of its memory. With GPUs, all is locked.
	ReservedMB int64
	// Off leaves it powered off.
	Off bool
}

// hosts lists the simulated hosts in the order of their ids.
func (s *Server) hosts() []*simulator.HostSystem {
	var out []*simulator.HostSystem
	for _, e := range s.model.Service.Context.Map.All("HostSystem") {
		if h, ok := e.(*simulator.HostSystem); ok {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b *simulator.HostSystem) int {
		// host-9 comes before host-10.
		return cmpIDs(a.Self.Value, b.Self.Value)
	})
	return out
}

func cmpIDs(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// SetMaintenance lets a host enter or leave maintenance.
func (s *Server) SetMaintenance(host int, on bool) {
	h := s.hosts()[host]
	s.model.Service.Context.Update(h, []types.PropertyChange{{Name: "runtime.inMaintenanceMode", Val: on}})
}

// AddVM makes a VM on a host. vcsim links no GPU to it, and neither does this: its
// devices tell.
func (s *Server) AddVM(vm VM) error {
	return s.call(func(ctx context.Context, c *vim25.Client, _ *rest.Client) error {
		login := session.NewManager(c)
		if err := login.Login(ctx, url.UserPassword(s.Username, s.Password)); err != nil {
			return fmt.Errorf("logging in: %w", err)
		}
		return errors.Join(s.addVM(ctx, c, vm), login.Logout(ctx))
	})
}

func (s *Server) addVM(ctx context.Context, c *vim25.Client, vm VM) error {
	h := s.hosts()[vm.Host]
	pool := s.model.Service.Context.Map.Get(*h.Parent).(*simulator.ClusterComputeResource).ResourcePool //nolint:forcetypeassert // all hosts are of clusters
	datacenter := s.model.Service.Context.Map.Any("Datacenter").(*simulator.Datacenter)                 //nolint:forcetypeassert // that is its kind
	spec := types.VirtualMachineConfigSpec{
		Name: vm.Name, NumCPUs: 1, MemoryMB: vm.MemoryMB, Files: &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0]"},
		MemoryAllocation: &types.ResourceAllocationInfo{Reservation: new(vm.ReservedMB)},
	}
	if vm.GPUs > 0 {
		spec.MemoryReservationLockedToMax = new(true)
	}
	for i := range vm.GPUs {
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationAdd,
			Device: &types.VirtualPCIPassthrough{VirtualDevice: types.VirtualDevice{
				Key: int32(-200 - i), Backing: &types.VirtualPCIPassthroughVmiopBackingInfo{Vgpu: vm.Profile},
			}},
		})
	}
	self := h.Self
	task, err := object.NewFolder(c, datacenter.VmFolder).CreateVM(ctx, spec, object.NewResourcePool(c, *pool), object.NewHostSystem(c, self))
	if err != nil {
		return fmt.Errorf("making VM %s: %w", vm.Name, err)
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		return fmt.Errorf("making VM %s: %w", vm.Name, err)
	}
	ref := info.Result.(types.ManagedObjectReference) //nolint:forcetypeassert // that is what the task makes
	if vm.Off {
		return nil
	}
	if task, err = object.NewVirtualMachine(c, ref).PowerOn(ctx); err == nil {
		err = task.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("starting VM %s: %w", vm.Name, err)
	}
	return nil
}
