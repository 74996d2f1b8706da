package vsphere

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// PCI vendors whose passed-through devices are GPUs. Network adapters are passed
// through in the same way, so the vendor has to tell.
const (
	vendorNvidia = 0x10de
	vendorAMD    = 0x1002
)

// gpus is what a class gives a VM: one entry for each device in the guest.
type gpus []string // what each is, such as a vGPU profile

// count and kind sum the devices up.
func (g gpus) count() int64 { return int64(len(g)) }

func (g gpus) kind() string {
	kinds := slices.Clone(g)
	slices.Sort(kinds)
	return strings.Join(slices.Compact(kinds), ",")
}

// directPath describes one passed-through device by its PCI ids, or tells that
// it is no GPU. Ids may have been sign-extended from 16 bits on their way.
func directPath(vendor, device int64, label string) (kind string, ok bool) {
	vendor, device = vendor&0xffff, device&0xffff
	if vendor != vendorNvidia && vendor != vendorAMD {
		return "", false
	}
	if label != "" {
		return label, true
	}
	return fmt.Sprintf("%04x:%04x", vendor, device), true
}

// configSpec is the part of a VirtualMachineConfigSpec, in the JSON of the vSphere
// API (`_typeName` as discriminator), that adds devices. It is read with a type of
// our own: a device that a newer API adds must not make the class unreadable.
type configSpec struct {
	MemoryAllocation struct {
		ReservationMB int64 `json:"reservation"`
	} `json:"memoryAllocation"`
	MemoryLocked bool `json:"memoryReservationLockedToMax"`

	DeviceChange []struct {
		Operation string `json:"operation"`
		Device    struct {
			TypeName string  `json:"_typeName"`
			Backing  backing `json:"backing"`
		} `json:"device"`
	} `json:"deviceChange"`
}

type backing struct {
	TypeName      string `json:"_typeName"`
	VGPU          string `json:"vgpu"`
	CustomLabel   string `json:"customLabel"`
	AllowedDevice []struct {
		VendorID int64 `json:"vendorId"`
		DeviceID int64 `json:"deviceId"`
	} `json:"allowedDevice"`
}

// devicesOfSpec counts the GPUs that a config spec adds. present is false for an
// empty one: only then do the devices of the class itself count
// (vmware-tanzu/vm-operator:
// pkg/providers/vsphere/virtualmachine/class_configspec_from_name.go).
//
// reserved is what it reserves of the memory: -1 stands for all.
func devicesOfSpec(raw json.RawMessage) (found gpus, reserved int64, present bool, err error) {
	text := strings.TrimSpace(string(raw))
	if text == "" || text == "null" || text == "{}" || text == `""` {
		return nil, 0, false, nil
	}
	var spec configSpec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, 0, true, fmt.Errorf("reading its config spec: %w", err)
	}
	if mb := spec.MemoryAllocation.ReservationMB; mb > 0 && mb <= mostMemoryBytes>>20 {
		reserved = mb << 20
	}
	if spec.MemoryLocked {
		reserved = -1
	}
	for _, c := range spec.DeviceChange {
		if c.Operation != "" && c.Operation != "add" {
			continue
		}
		if kind, ok := c.Device.Backing.gpu(); ok {
			found = append(found, kind)
		}
	}
	return found, reserved, true, nil
}

// gpu describes the device behind the backing, or tells that it is no GPU.
func (b backing) gpu() (kind string, ok bool) {
	switch b.TypeName {
	case "VirtualPCIPassthroughVmiopBackingInfo":
		return b.VGPU, b.VGPU != ""
	case "VirtualPCIPassthroughDynamicBackingInfo":
		for _, d := range b.AllowedDevice {
			if kind, ok := directPath(d.VendorID, d.DeviceID, b.CustomLabel); ok {
				return kind, true
			}
		}
	}
	return "", false
}
