package vsphere

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
	"github.com/tandem-autoscaler/tandem/pkg/vsphere/vsim"
)

const profile80 = "grid_h100xm-80c"

// startHosts starts clusters with two hosts of one TiB and eight GPUs each.
func startHosts(t *testing.T, clusters int, zones ...string) (*vsim.Server, *Source) {
	t.Helper()
	server, err := vsim.Start(vsim.Options{
		Hosts:    []vsim.Host{{Count: 2, CPUs: 96, MemoryBytes: 1 << 40, GPUs: 8, Profile: profile80}},
		Clusters: clusters, Zones: zones, Classes: gpuClasses, Username: "reader", Password: "secret",
	})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for name, content := range map[string]string{"username": "reader", "password": "secret"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	v := config.VCenter{URL: server.URL, CAFile: server.CAFile, UsernameFile: filepath.Join(dir, "username"), PasswordFile: filepath.Join(dir, "password"), Hosts: true}
	s := New(Options{Catalogue: config.Catalogue{VCenter: &v, RefreshInterval: metav1.Duration{Duration: time.Minute}}, Namespace: "pools"})
	t.Cleanup(func() { s.logout(context.WithoutCancel(t.Context())) })
	return server, s
}

// free sums up zones as GPUs and GiB, a host each.
func free(zones []planner.HostZone) map[string][][2]int64 {
	out := map[string][][2]int64{}
	for _, z := range zones {
		for _, h := range z.Hosts {
			for range h.Count {
				out[z.Name] = append(out[z.Name], [2]int64{h.GPUs, h.Memory / gib})
			}
		}
	}
	return out
}

func TestHosts(t *testing.T) {
	server, s := startHosts(t, 2, "zone-a", "zone-b")
	before := s.Observe(time.Now())
	require.Equal(t, []planner.HostZone{{Unknown: "the hosts have not been read yet"}}, before.Zones)

	require.True(t, s.refresh(t.Context()), s.Observe(time.Now()).Sources)
	got := s.Observe(time.Now())
	assert.Empty(t, got.Sources[0].Error)
	require.Len(t, got.Zones, 2)
	assert.Equal(t, []string{"10de:2330", profile80}, got.Zones[0].Hosts[0].Devices, "a device may be given out in either way")
	const all = 1024 - 1024/ownShare - 1 // GiB, less the part of the hypervisor
	assert.Equal(t, map[string][][2]int64{"zone-a": {{8, all}, {8, all}}, "zone-b": {{8, all}, {8, all}}}, free(got.Zones))
	assert.EqualValues(t, 2, got.Zones[0].Hosts[0].Count, "equal hosts are one entry")
	assert.WithinDuration(t, time.Now(), got.Zones[0].ReadAt, time.Minute)
	i := 0
	for got.Classes[i].Name != "four" {
		i++
	}
	assert.Equal(t, profile80, got.Classes[i].Devices, "in the words of the hosts")

	// A VM with GPUs locks all of its memory, others what they reserve, and one that
	// is off nothing.
	for _, vm := range []vsim.VM{
		{Name: "gpu", Host: 0, MemoryMB: 131072, GPUs: 4, Profile: profile80},
		{Name: "guaranteed", Host: 0, MemoryMB: 65536, ReservedMB: 65536},
		{Name: "squeezed", Host: 0, MemoryMB: 65536},
		{Name: "off", Host: 1, MemoryMB: 131072, GPUs: 4, Profile: profile80, Off: true},
	} {
		require.NoError(t, server.AddVM(vm))
	}
	server.SetMaintenance(3, true)
	require.True(t, s.refresh(t.Context()), s.Observe(time.Now()).Sources)
	got = s.Observe(time.Now())
	assert.Equal(t, map[string][][2]int64{"zone-a": {{4, all - 128 - 64}, {8, all}}, "zone-b": {{8, all}}}, free(got.Zones))
	assert.Equal(t, map[string]bool{"gpu": true, "guaranteed": true, "squeezed": true}, got.VMs)
}

// TestHostsFeedThePlanner: of what is asked for, as much is bought in a zone as its
// hosts hold.
func TestHostsFeedThePlanner(t *testing.T) {
	server, s := startHosts(t, 2, "zone-a", "zone-b")
	for host := range 4 {
		if host != 2 {
			require.NoError(t, server.AddVM(vsim.VM{Name: "other-" + string(rune('a'+host)), Host: host, MemoryMB: 65536, GPUs: 6, Profile: profile80}))
		}
	}
	require.True(t, s.refresh(t.Context()), s.Observe(time.Now()).Sources)
	v := s.Observe(time.Now())
	four := planner.Resources{planner.ResourceCPU: 30_000, planner.ResourceMemory: 100 * gib, planner.ResourceGPU: 4 * planner.Unit}
	snap := planner.Snapshot{At: time.Now(), Classes: v.Classes, Zones: v.Zones}
	for _, zone := range []string{"zone-a", "zone-b"} {
		snap.NodeGroups = append(snap.NodeGroups, planner.NodeGroup{Namespace: "ns", Name: zone, UID: zone, Class: "four", Zone: zone, Managed: true, Max: 9, Capacity: four})
	}
	snap.RayClusters = []planner.RayCluster{{
		Namespace: "ml", Name: "ray", Mode: planner.ModeLead, DemandKnown: true, Requests: []planner.Request{{Resources: four, Count: 5}},
		WorkerGroups: []planner.WorkerGroup{{Name: "w", Max: 9, RayResources: four, Pod: planner.PodShape{Requests: four}}},
	}}
	plan, _ := planner.Make(snap, planner.Memory{})
	require.NoError(t, planner.Check(snap, plan))
	grown := map[string]int64{}
	for _, st := range plan.Steps {
		if st.Kind == planner.StepGrow {
			grown[st.Group] = st.To
		}
	}
	assert.Equal(t, map[string]int64{"ns/zone-b": 2}, grown, "two GPUs each on three hosts hold no VM with four")
}

// A vCenter without zones has one, if it has one cluster; of several nobody knows
// which is which.
func TestHostsWithoutZones(t *testing.T) {
	_, s := startHosts(t, 1)
	require.True(t, s.refresh(t.Context()), s.Observe(time.Now()).Sources)
	assert.Len(t, free(s.Observe(time.Now()).Zones)[""], 2)
}

func TestHostsOfClustersInNoZone(t *testing.T) {
	_, s := startHosts(t, 2)
	require.True(t, s.refresh(t.Context()), s.Observe(time.Now()).Sources)
	zones := s.Observe(time.Now()).Zones
	require.Len(t, zones, 1)
	assert.Equal(t, "vCenter does not tell which of its 2 clusters is in which zone", zones[0].Unknown)
	assert.Empty(t, zones[0].Name, "that concerns every group")
}

// Fault 47: vCenter is down: what was read counts for a while, then it is unknown.
// Fault 48: vCenter ends the sessions.
func TestHostsGone(t *testing.T) {
	server, s := startHosts(t, 1, "zone-a")
	require.True(t, s.refresh(t.Context()))
	r := &hostReader{v: s.vcenter}
	_, err := r.read(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.soap.Logout(t.Context()))
	_, err = r.read(t.Context())
	require.NoError(t, err, "a session that has ended is replaced")
	require.NoError(t, server.EndSessions(r.rest.SessionID()))
	_, err = r.read(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.soap.Logout(t.Context()))
	r.keepAlive(t.Context())
	assert.Nil(t, r.soap, "and noticed in between")
	_, err = r.read(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.close(t.Context()))
	require.NoError(t, r.close(t.Context()))

	s.hosts.read = func(context.Context) (hostReading, error) { return hostReading{}, errors.New("down") }
	require.False(t, s.refresh(t.Context()))
	got := s.Observe(time.Now())
	assert.Len(t, free(got.Zones)["zone-a"], 2, "the last good reading")
	assert.True(t, got.Sources[0].Known, "the classes are known all the same")
	assert.Contains(t, got.Sources[0].Error, "hosts of vCenter: down")
	got = s.Observe(time.Now().Add(10 * time.Minute))
	require.Len(t, got.Zones, 1)
	assert.Contains(t, got.Zones[0].Unknown, "the hosts were last read 10m0s ago: down")
}

func TestWholeGPU(t *testing.T) {
	t.Parallel()
	const kb = 80 << 20
	for profile, whole := range map[string]bool{
		"grid_h100xm-80c": true, "nvidia_a100-7-80c": true, "grid_h100xm-40c": false, "grid_h100xm-10c": false, "GRID_H100XM-80C": true, "mine": false, "x-99999c": false,
	} {
		assert.Equal(t, whole, wholeGPU(profile, kb), profile)
	}
	assert.False(t, wholeGPU("grid_h100xm-80c", 0), "of a device of unknown size")
}

// inventoryOf is one host in one of the clusters.
func inventoryOf(clusters int, edit func(*mo.HostSystem)) *inventory {
	v := &inventory{}
	for i := range clusters {
		var c mo.ClusterComputeResource
		c.Self = types.ManagedObjectReference{Type: "ClusterComputeResource", Value: string(rune('a' + i))}
		v.clusters = append(v.clusters, c)
	}
	var h mo.HostSystem
	h.Name, h.Self = "esx1", types.ManagedObjectReference{Type: "HostSystem", Value: "h"}
	h.Parent, h.Runtime.ConnectionState = &v.clusters[0].Self, types.HostSystemConnectionStateConnected
	h.Summary.Hardware, h.Config = &types.HostHardwareSummary{MemorySize: 1 << 40}, &types.HostConfigInfo{}
	edit(&h)
	v.hosts = []mo.HostSystem{h}
	return v
}

// TestHostsInTheDark: what the role may not see is unknown, and says so; it is never
// a host without room.
func TestHostsInTheDark(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit    func(*mo.HostSystem)
		unknown string
	}{
		"seen":        {func(*mo.HostSystem) {}, ""},
		"hardware":    {func(h *mo.HostSystem) { h.Summary.Hardware = nil }, "the hardware of host esx1 cannot be read"},
		"devices":     {func(h *mo.HostSystem) { h.Config = nil }, "the devices of host esx1 cannot be read"},
		"no parent":   {func(h *mo.HostSystem) { h.Parent = nil }, "no host of it can be seen"},
		"maintenance": {func(h *mo.HostSystem) { h.Runtime.InMaintenanceMode, h.Config = true, nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zones, err := inventoryOf(1, c.edit).zones()
			require.Len(t, zones, 1)
			assert.Equal(t, c.unknown, zones[0].Unknown)
			assert.Equal(t, c.unknown != "", err != nil)
		})
	}

	v := inventoryOf(2, func(*mo.HostSystem) {})
	v.zonesErr = errors.New("403 Forbidden")
	zones, err := v.zones()
	require.ErrorContains(t, err, "403")
	assert.Equal(t, []planner.HostZone{{Unknown: "vCenter does not tell which of its 2 clusters is in which zone: 403 Forbidden"}}, zones)

	v.zoneOf, v.zonesErr = map[string]string{"b": "zone-b"}, nil
	zones, err = v.zones()
	require.Error(t, err)
	assert.Equal(t, []planner.HostZone{{Name: "zone-b", Unknown: "no host of it can be seen"}}, zones, "the other cluster is in no zone")
}

// TestDevicesInUse: a GPU is taken if the host, a binding or a VM says so.
func TestDevicesInUse(t *testing.T) {
	t.Parallel()
	held := types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm"}
	v := inventoryOf(1, func(h *mo.HostSystem) {
		h.Config.GraphicsInfo = []types.HostGraphicsInfo{
			{PciId: "0000:10:00.0", GraphicsType: "sharedDirect", MemorySizeInKB: 80 << 20, Vm: []types.ManagedObjectReference{held}},
			{PciId: "0000:11:00.0", GraphicsType: "sharedDirect", MemorySizeInKB: 80 << 20},
			{PciId: "0000:00:02.0", GraphicsType: "basic"},
		}
		h.Config.PciPassthruInfo = []types.BaseHostPciPassthruInfo{
			&types.HostPciPassthruInfo{Id: "0000:12:00.0", PassthruActive: true},
			&types.HostPciPassthruInfo{Id: "0000:13:00.0", PassthruActive: true},
			&types.HostPciPassthruInfo{Id: "0000:14:00.0", PassthruEnabled: true}, // after the next boot
			&types.HostPciPassthruInfo{Id: "0000:15:00.0", PassthruActive: true},  // a network adapter
		}
		h.Config.AssignableHardwareBinding = []types.HostAssignableHardwareBinding{{InstanceId: "pci:0000:12:00.0", Vm: held}}
	})
	self := v.hosts[0].Self
	v.pci = map[types.ManagedObjectReference]map[string]string{self: {"0000:12:00.0": "10de:2330", "0000:13:00.0": "10de:2330", "0000:14:00.0": "10de:2330"}}
	v.profiles = map[types.ManagedObjectReference]map[string]bool{self: {profile80: true, "grid_h100xm-20c": true}}
	zones, err := v.zones()
	require.NoError(t, err)
	require.Len(t, zones[0].Hosts, 1)
	assert.EqualValues(t, 2, zones[0].Hosts[0].GPUs, "of four devices, two are held")
	assert.Equal(t, []string{"10de:2330", profile80}, zones[0].Hosts[0].Devices, "a profile for a quarter is not counted")

	var vm mo.VirtualMachine
	vm.Name, vm.Runtime.Host, vm.Runtime.PowerState = "m", &self, types.VirtualMachinePowerStatePoweredOn
	vm.Config = &types.VirtualMachineConfigInfo{}
	for range 3 {
		vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, &types.VirtualPCIPassthrough{VirtualDevice: types.VirtualDevice{
			Backing: &types.VirtualPCIPassthroughDynamicBackingInfo{AllowedDevice: []types.VirtualPCIPassthroughAllowedDevice{{VendorId: 0x10de, DeviceId: 0x2330}}},
		}})
	}
	v.vms = []mo.VirtualMachine{vm}
	zones, err = v.zones()
	require.NoError(t, err)
	assert.EqualValues(t, 1, zones[0].Hosts[0].GPUs, "its VMs hold three")
}
