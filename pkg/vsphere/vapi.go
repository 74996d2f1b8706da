package vsphere

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// vcenterClassesPath lists VM classes with all that they have
// (https://developer.broadcom.com/xapis/vsphere-automation-api, "Virtual Machine
// Classes").
const vcenterClassesPath = "/api/vcenter/namespace-management/virtual-machine-classes"

// parseVCenter reads the answer of vCenter: one entry for each class, so that a
// broken one does not hide the others. namespace is the one that must be allowed
// to use a class.
func parseVCenter(body []byte, namespace string) (map[string]hardware, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("reading the list of VM classes: %w", err)
	}
	out := make(map[string]hardware, len(entries))
	for i, raw := range entries {
		name, h := parseVCenterClass(raw, namespace)
		if name == "" {
			name = fmt.Sprintf("#%d", i+1)
		}
		out[name] = h
	}
	return out, nil
}

// vcenterClass holds the keys of one class in lower case.
type vcenterClass map[string]json.RawMessage

func parseVCenterClass(raw json.RawMessage, namespace string) (name string, h hardware) {
	fields, err := lower(raw)
	if err != nil {
		return "", hardware{problem: fmt.Sprintf("reading its entry in vCenter: %v", err)}
	}
	c := vcenterClass(fields)
	var memoryMB int64
	var problems []string
	read := func(key string, into any) {
		if v, ok := c[key]; ok {
			if err := json.Unmarshal(v, into); err != nil {
				problems = append(problems, fmt.Sprintf("its %s is %s", key, clip(v)))
			}
		}
	}
	read("id", &name)
	read("cpu_count", &h.cpus)
	read("memory_mb", &memoryMB)
	var namespaces []string
	read("namespaces", &namespaces)
	h.memoryBytes = -1
	if memoryMB >= 0 && memoryMB <= mostMemoryBytes>>20 {
		h.memoryBytes = memoryMB << 20
	}
	var percent int64 // of the memory
	read("memory_reservation", &percent)
	var reserved int64
	if h.gpus, reserved, err = c.devices(); err != nil {
		problems = append(problems, err.Error())
	}
	h.reserve(reserved, max(h.memoryBytes, 0)*min(max(percent, 0), 100)/100)
	switch {
	case name == "":
		problems = append(problems, "vCenter lists it without an id")
	case namespaces != nil && !slices.Contains(namespaces, namespace):
		// Older releases, and vcsim, do not tell: then it is taken to be usable.
		problems = append(problems, "it is not assigned to namespace "+namespace)
	}
	h.problem = strings.Join(problems, "; ")
	return name, h
}

// devices counts the GPUs, from the config spec if there is one, and tells what it
// reserves of the memory.
func (c vcenterClass) devices() (found gpus, reserved int64, err error) {
	found, reserved, present, err := devicesOfSpec(c["config_spec"])
	if !present && err == nil {
		found, err = c.ownDevices()
	}
	return found, reserved, err
}

// ownDevices counts the GPUs of a class without a config spec.
func (c vcenterClass) ownDevices() (found gpus, err error) {
	raw, ok := c["devices"]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	fields, err := lower(raw)
	if err != nil {
		return nil, fmt.Errorf("reading its devices: %w", err)
	}
	var vgpu []struct {
		Profile string `json:"profile_name"`
	}
	if raw, ok := fields["vgpu_devices"]; ok {
		if err := json.Unmarshal(raw, &vgpu); err != nil {
			return nil, fmt.Errorf("reading its vGPU devices: %w", err)
		}
	}
	for _, d := range vgpu {
		found = append(found, d.Profile)
	}
	// The spellings of devices that are passed through: older and newer documents
	// of the API differ in case only, and vmware/govmomi has a third one of its own
	// (vapi/namespace/namespace.go).
	for _, key := range []string{"dynamic_direct_path_io_devices", "direct_path_io_devices"} {
		more, err := directPathDevices(fields[key])
		if err != nil {
			return nil, err
		}
		if len(more) > 0 {
			// One list under two spellings is still one list.
			return append(found, more...), nil
		}
	}
	return found, nil
}

func directPathDevices(raw json.RawMessage) (gpus, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var list []struct {
		Vendor int64  `json:"vendor_id"`
		Device int64  `json:"device_id"`
		Label  string `json:"custom_label"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("reading its DirectPath devices: %w", err)
	}
	var out gpus
	for _, d := range list {
		if kind, ok := directPath(d.Vendor, d.Device, d.Label); ok {
			out = append(out, kind)
		}
	}
	return out, nil
}

// lower reads an object with its keys in lower case: the API's documents spell
// some of them in two ways (memory_MB, memory_mb).
func lower(raw json.RawMessage) (map[string]json.RawMessage, error) {
	var in map[string]json.RawMessage
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("%s is no JSON object", clip(raw))
	}
	out := make(map[string]json.RawMessage, len(in))
	for _, k := range slices.Sorted(maps.Keys(in)) {
		out[strings.ToLower(k)] = in[k]
	}
	return out, nil
}

// clip shows a foreign JSON value in a message: on one line, and cut.
func clip(raw []byte) string {
	const most = 80
	text := strings.Join(strings.Fields(string(raw)), " ")
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "")
}
