package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/vcenter/consumptiondomains/zones"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// The properties that are read. They are small ones: what a host has in all takes
// megabytes. PCI devices are read once for each host.
var (
	hostProperties = []string{
		"name", "parent", "runtime.connectionState", "runtime.powerState", "runtime.inMaintenanceMode", "runtime.inQuarantineMode",
		"summary.hardware", "config.graphicsInfo", "config.sharedPassthruGpuTypes", "config.pciPassthruInfo", "config.assignableHardwareBinding",
	}
	vmProperties = []string{
		"name", "runtime.host", "runtime.powerState", "runtime.memoryOverhead", "config.hardware.memoryMB", "config.hardware.device",
		"config.memoryAllocation", "config.memoryReservationLockedToMax",
	}
)

// The paths that tell of zones
// (https://developer.broadcom.com/xapis/vsphere-automation-api, "Consumption Domains").
const (
	zonesPath        = "/api/vcenter/consumption-domains/zones"
	associationsPath = zonesPath + "/cluster/%s/associations"
)

// hostReader reads what is free on vCenter's hosts, with a session of its own. It
// is not safe for concurrent use.
type hostReader struct {
	v *vcenter // for its options; its session is another one

	soap     *session.Manager // nil: no session
	client   *vim25.Client
	rest     *rest.Client
	pci      map[types.ManagedObjectReference]map[string]string
	profiles map[types.ManagedObjectReference]map[string]bool
}

// hostReading is what was read. zones are there even with an error: those that are
// not known tell why.
type hostReading struct {
	zones []planner.HostZone
	vms   map[string]bool // names of those that run on a host
}

// read reads the hosts. A session that vCenter has ended is replaced once.
func (r *hostReader) read(ctx context.Context) (hostReading, error) {
	if r.soap == nil {
		if err := r.login(ctx); err != nil {
			return hostReading{}, err
		}
	}
	out, err := r.readOnce(ctx)
	if fault.Is(err, &types.NotAuthenticated{}) || rest.IsStatusError(err, http.StatusUnauthorized) {
		r.drop()
		if err := r.login(ctx); err != nil {
			return hostReading{}, err
		}
		out, err = r.readOnce(ctx)
	}
	return out, err
}

func (r *hostReader) login(ctx context.Context) error {
	user, err := r.v.credentials()
	if err != nil {
		return err
	}
	client, err := r.v.connect(ctx)
	if err != nil {
		return err
	}
	soap, api := session.NewManager(client), rest.NewClient(client)
	if err := soap.Login(ctx, user); err != nil {
		client.CloseIdleConnections()
		return fmt.Errorf("logging in to vCenter: %w", err)
	}
	if err := api.Login(ctx, user); err != nil {
		err = errors.Join(err, soap.Logout(ctx))
		client.CloseIdleConnections()
		return fmt.Errorf("logging in to vCenter: %w", err)
	}
	r.client, r.soap, r.rest = client, soap, api
	return nil
}

func (r *hostReader) drop() {
	r.client.CloseIdleConnections()
	r.rest.CloseIdleConnections()
	r.client, r.soap, r.rest = nil, nil, nil
}

// keepAlive uses both sessions, so that vCenter does not end them for idleness.
func (r *hostReader) keepAlive(ctx context.Context) {
	if r.soap == nil {
		return
	}
	s, err := r.soap.UserSession(ctx)
	if err == nil && s != nil {
		_, err = r.rest.Session(ctx)
	}
	if err != nil || s == nil {
		r.drop()
	}
}

// close ends the sessions.
func (r *hostReader) close(ctx context.Context) error {
	if r.soap == nil {
		return nil
	}
	err := errors.Join(r.rest.Logout(ctx), r.soap.Logout(ctx))
	r.drop()
	if err != nil {
		return fmt.Errorf("logging out of vCenter: %w", err)
	}
	return nil
}

func (r *hostReader) readOnce(ctx context.Context) (out hostReading, err error) {
	at := time.Now()
	v := &inventory{}
	container, err := view.NewManager(r.client).CreateContainerView(ctx, r.client.ServiceContent.RootFolder,
		[]string{"ClusterComputeResource", "HostSystem", "VirtualMachine"}, true)
	if err != nil {
		return out, fmt.Errorf("looking for hosts: %w", err)
	}
	defer func() { err = errors.Join(err, container.Destroy(ctx)) }()
	if err := container.Retrieve(ctx, []string{"ClusterComputeResource"}, []string{"name"}, &v.clusters); err != nil {
		return out, fmt.Errorf("reading the clusters: %w", err)
	}
	if err := container.Retrieve(ctx, []string{"HostSystem"}, hostProperties, &v.hosts); err != nil {
		return out, fmt.Errorf("reading the hosts: %w", err)
	}
	if err := container.Retrieve(ctx, []string{"VirtualMachine"}, vmProperties, &v.vms); err != nil {
		return out, fmt.Errorf("reading the VMs: %w", err)
	}
	if err := r.learn(ctx, v.hosts); err != nil {
		return out, err
	}
	v.pci, v.profiles = r.pci, r.profiles
	v.zoneOf, v.zonesErr = r.zonesOfClusters(ctx)
	if rest.IsStatusError(v.zonesErr, http.StatusUnauthorized) {
		return out, v.zonesErr
	}
	out.zones, err = v.zones()
	for i := range out.zones {
		out.zones[i].ReadAt = at.UTC()
	}
	_, out.vms = v.onHosts()
	return out, err
}

// learn reads the PCI devices of hosts that are new, and notes which profiles
// each host offers.
func (r *hostReader) learn(ctx context.Context, hosts []mo.HostSystem) error {
	pci, profiles := map[types.ManagedObjectReference]map[string]string{}, map[types.ManagedObjectReference]map[string]bool{}
	var unseen []types.ManagedObjectReference
	for i := range hosts {
		h := &hosts[i]
		if pci[h.Self] = r.pci[h.Self]; pci[h.Self] == nil {
			unseen = append(unseen, h.Self)
		}
		if profiles[h.Self] = r.profiles[h.Self]; profiles[h.Self] == nil {
			profiles[h.Self] = map[string]bool{}
		}
		if h.Config != nil {
			for _, p := range h.Config.SharedPassthruGpuTypes {
				profiles[h.Self][p] = true
			}
		}
	}
	r.profiles = profiles
	if len(unseen) > 0 {
		var found []mo.HostSystem
		if err := property.DefaultCollector(r.client).Retrieve(ctx, unseen, []string{"hardware.pciDevice"}, &found); err != nil {
			return fmt.Errorf("reading the devices of hosts: %w", err)
		}
		for i := range found {
			h := &found[i]
			pci[h.Self] = map[string]string{}
			if h.Hardware == nil {
				continue
			}
			for _, d := range h.Hardware.PciDevice {
				if kind, gpu := directPath(int64(d.VendorId), int64(d.DeviceId), ""); gpu {
					pci[h.Self][d.Id] = kind
				}
			}
		}
	}
	r.pci = pci
	return nil
}

// zonesOfClusters asks which cluster is in which zone. A vCenter that knows no
// zones is no trouble.
func (r *hostReader) zonesOfClusters(ctx context.Context) (map[string]string, error) {
	var list zones.ListResult
	err := r.get(ctx, zonesPath, &list)
	if rest.IsStatusError(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the zones of vCenter: %w", err)
	}
	out := map[string]string{}
	for _, z := range list.Items {
		var clusters []string
		if err := r.get(ctx, fmt.Sprintf(associationsPath, url.PathEscape(z.Zone)), &clusters); err != nil {
			return nil, fmt.Errorf("reading the clusters of zone %q: %w", z.Zone, err)
		}
		for _, c := range clusters {
			out[c] = z.Zone
		}
	}
	return out, nil
}

func (r *hostReader) get(ctx context.Context, path string, into any) error {
	return r.rest.Do(ctx, r.rest.Resource(path).Request(http.MethodGet), into)
}
