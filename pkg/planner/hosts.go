package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Headroom on the hosts. A VM with GPUs locks all its memory and whole devices on
// one host, another locks what its class reserves. So how many more VMs of a class
// fit in a zone is counted host by host, and all classes and groups of a zone draw
// on the same hosts. Where VMs go is up to vSphere: the planner reckons with the
// fullest host that has room. What is not known is no limit, and is not zero
// either: the group grows, what it buys is told as bought blindly, and a Machine
// that finds no room rests the class in its zone.

// vmNeed is what a VM of a group takes of its host.
type vmNeed struct {
	memory, gpus int64
	devices      string
}

// hostRoom is what is free on each of count equal hosts.
type hostRoom struct {
	zone                string
	memory, gpus, count int64
	devices             []string
}

// hostRooms is what is free on all hosts. The list is never changed in place, so a
// copy of the value is a copy of the state; no two states share a version.
type hostRooms struct {
	rooms   []hostRoom
	version int64
	// arranged tells that it was tried to arrange the VMs to come anew.
	arranged bool
}

// need is what a VM of the class takes of its host. Without an answer nothing
// bounds it there that is known; why tells what is missing, if anything is.
func (c *VMClass) need() (need *vmNeed, why string) {
	gpus := c.Capacity[ResourceGPU] / Unit
	switch {
	case gpus == 0 && c.ReservedMemory <= 0:
		return nil, "" // it may be squeezed in anywhere
	case gpus == 0:
		return &vmNeed{memory: c.ReservedMemory}, ""
	case c.Devices == "" || strings.Contains(c.Devices, ","):
		return nil, "its class does not tell which one kind of device it takes"
	}
	return &vmNeed{memory: c.Capacity[ResourceMemory], gpus: gpus, devices: c.Devices}, ""
}

// on tells whether VMs of the group go to hosts of the zone: those of one without
// a zone may go to any.
func (g *NodeGroup) on(zone string) bool { return zone == "" || g.Zone == "" || g.Zone == zone }

// hostsOf tells whether it is known what is free on the hosts of the group, or why
// not.
func (s *Snapshot) hostsOf(g *NodeGroup, need *vmNeed) (known bool, why string) {
	offered, others := need == nil || need.gpus == 0, false
	for _, z := range s.Zones {
		if !g.on(z.Name) {
			continue
		}
		if z.Unknown != "" {
			why = cmp.Or(min(why, z.Unknown), why, z.Unknown)
			continue
		}
		known = true
		for _, h := range z.Hosts {
			offered = offered || slices.Contains(h.Devices, need.devices)
			others = others || h.GPUs > 0 || len(h.Devices) > 0
		}
	}
	switch {
	case why != "":
	case !known:
		why = fmt.Sprintf("zone %q is none of those that were read", g.Zone)
	case !offered && others: // without any GPU there is none for it either
		why = "no host tells of devices " + need.devices
	}
	return known && why == "", why
}

// fits is how many VMs fit on one such host.
func (h *hostRoom) fits(n *vmNeed) int64 {
	k := int64(unbounded)
	if n.memory > 0 {
		k = h.memory / n.memory
	}
	if n.gpus > 0 {
		if !slices.Contains(h.devices, n.devices) {
			return 0
		}
		k = min(k, h.gpus/n.gpus)
	}
	return max(0, k)
}

// creditHosts lists the free room of the hosts, less what Machines will take that
// have been asked for and were not on a host when these were read.
func (p *planning) creditHosts() {
	if len(p.s.Zones) == 0 {
		return
	}
	for _, g := range p.groups {
		if g.class == nil || g.class.Invalid != "" {
			continue
		}
		need, missing := g.class.need()
		known, why := p.s.hostsOf(g.NodeGroup, need)
		if known && need != nil {
			g.vm, g.flying = need, p.inFlight(g)
			p.hostOrder = append(p.hostOrder, g.index)
		} else if missing != "" || need != nil {
			g.blind = cmp.Or(missing, why)
		}
	}
	// Those with the least choice are put on hosts first.
	anywhere := map[bool]int{true: 1}
	slices.SortStableFunc(p.hostOrder, func(i, j int64) int {
		a, b := p.groups[i], p.groups[j]
		return cmp.Or(cmp.Compare(anywhere[a.Zone == ""], anywhere[b.Zone == ""]), cmp.Compare(b.vm.gpus, a.vm.gpus), cmp.Compare(b.vm.memory, a.vm.memory))
	})
	rooms := p.usableHosts()
	p.hostsEmpty = rooms
	for _, i := range p.hostOrder {
		g := p.groups[i]
		rooms, g.stuck = g.place(rooms, g.flying)
		rooms = g.claim(rooms, g.stuck)
	}
	p.newHosts(rooms)
	p.hosts.arranged = true
}

// usableHosts lists the hosts with what the VMs that are counted can use of them:
// memory in multiples of what all their sizes are multiples of, and no more than
// goes with the free GPUs where all of them have GPUs. That loses no room, and hosts
// that differ in nothing else become equal, so that work grows with what differs.
func (p *planning) usableHosts() (out []hostRoom) {
	unit, eachGPU := int64(0), int64(0)
	for _, i := range p.hostOrder {
		vm := p.groups[i].vm
		unit = gcd(unit, vm.memory)
		if vm.gpus == 0 {
			eachGPU = unbounded
		} else if eachGPU != unbounded {
			eachGPU = max(eachGPU, (vm.memory+vm.gpus-1)/vm.gpus)
		}
	}
	for _, z := range p.s.Zones {
		if z.Unknown != "" {
			continue
		}
		for _, h := range z.Hosts {
			room := hostRoom{zone: z.Name, gpus: max(0, h.GPUs), count: h.Count, devices: slices.Sorted(slices.Values(h.Devices))}
			room.memory = min(max(0, h.Memory), mulSat(eachGPU, room.gpus))
			if eachGPU == unbounded {
				room.memory = max(0, h.Memory)
			}
			if unit > 0 {
				room.memory -= room.memory % unit
			}
			if h.Count > 0 && room.memory > 0 {
				out = append(out, room)
			}
		}
	}
	return merged(nil, out)
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// rearrange puts all VMs that are to come on hosts anew, in an order of its own:
// one by one, as they are bought, they may stand in each other's way. The next plan
// begins with this arrangement, so it finds no room that this one did not (rule
// I5). It is not taken where it has no room for what is bought.
func (p *planning) rearrange() {
	p.hosts.arranged = true
	rooms := p.hostsEmpty
	for _, i := range p.hostOrder {
		g := p.groups[i]
		var left int64
		if rooms, left = g.place(rooms, addSat(g.flying, g.growth())); left > g.stuck {
			return
		}
		rooms = g.claim(rooms, left)
	}
	p.newHosts(rooms)
	p.hosts.arranged = true
}

// inFlight counts the Machines of the group whose VMs were on no host when the
// hosts were read.
func (p *planning) inFlight(g *groupState) int64 {
	n := max(0, g.Replicas-g.alive)
	for _, m := range g.machines {
		late := slices.ContainsFunc(p.s.Zones, func(z HostZone) bool { return g.on(z.Name) && m.CreatedAt.After(z.ReadAt) })
		if !m.Deleting && (late || m.Node == "" && !m.OnHost) {
			n++
		}
	}
	return n
}

func (p *planning) newHosts(rooms []hostRoom) {
	p.hostVersions++
	p.hosts = hostRooms{rooms: rooms, version: p.hostVersions}
}

// roomOnHosts is how many more VMs of the group its hosts have room for.
func (p *planning) roomOnHosts(g *groupState) int64 {
	if g.vm == nil {
		return unbounded
	}
	if n := p.fit(g); n > 0 || p.hosts.arranged {
		return n
	}
	p.rearrange()
	return p.fit(g)
}

func (p *planning) fit(g *groupState) int64 {
	if g.fitAt != p.hosts.version {
		g.fitAt, g.fits = p.hosts.version, 0
		for i := range p.hosts.rooms {
			if h := &p.hosts.rooms[i]; g.on(h.zone) {
				g.fits = addSat(g.fits, mulSat(h.fits(g.vm), h.count))
			}
		}
	}
	return g.fits
}

// occupy puts n VMs of the group on hosts.
func (p *planning) occupy(g *groupState, n int64) {
	if g.vm == nil || n <= 0 {
		return
	}
	rooms, _ := g.place(p.hosts.rooms, n)
	p.newHosts(rooms)
}

// place puts n VMs of the group on hosts, on the fullest with room first. It
// returns what is free then, and how many found no room.
func (g *groupState) place(from []hostRoom, n int64) (rooms []hostRoom, left int64) {
	if n == 0 || g.vm == nil {
		return from, n
	}
	var changed []hostRoom
	rooms = make([]hostRoom, 0, len(from)+1)
	for i := range from {
		h := from[i]
		if n == 0 || !g.on(h.zone) || h.fits(g.vm) == 0 {
			rooms = append(rooms, h)
			continue
		}
		each := min(n, h.fits(g.vm))
		full := h
		full.count = min(h.count, n/each)
		n -= each * full.count
		full.memory, full.gpus = h.memory-each*g.vm.memory, h.gpus-each*g.vm.gpus
		changed = append(changed, full)
		if h.count -= full.count; h.count == 0 {
			continue
		}
		if n > 0 { // fewer than one host of these holds
			one := h
			one.count, one.memory, one.gpus = 1, h.memory-n*g.vm.memory, h.gpus-n*g.vm.gpus
			changed, n = append(changed, one), 0
			h.count--
		}
		if h.count > 0 {
			rooms = append(rooms, h)
		}
	}
	return merged(rooms, changed), n
}

// compareHosts puts the fullest first.
func compareHosts(a, b hostRoom) int {
	return cmp.Or(cmp.Compare(a.gpus, b.gpus), cmp.Compare(a.memory, b.memory), cmp.Compare(a.zone, b.zone), slices.Compare(a.devices, b.devices))
}

// merged is a list in order with others put in their places, equal ones together.
func merged(in, others []hostRoom) []hostRoom {
	slices.SortFunc(others, compareHosts)
	out := make([]hostRoom, 0, len(in)+len(others))
	for len(in) > 0 || len(others) > 0 {
		from := &in
		if len(in) == 0 || len(others) > 0 && compareHosts(others[0], in[0]) < 0 {
			from = &others
		}
		h := (*from)[0]
		*from = (*from)[1:]
		if n := len(out); n > 0 && compareHosts(out[n-1], h) == 0 {
			out[n-1].count = addSat(out[n-1].count, h.count)
			continue
		}
		out = append(out, h)
	}
	return out
}

// claim closes as many hosts as n VMs of the group need in all, those with the most
// free first. They have been asked for and will go somewhere, if not where they
// would leave the most room: what is in doubt is not sold twice.
func (g *groupState) claim(from []hostRoom, n int64) []hostRoom {
	if n == 0 {
		return from
	}
	rooms := slices.Clone(from)
	memory, gpus := mulSat(n, g.vm.memory), mulSat(n, g.vm.gpus)
	for i := range slices.Backward(rooms) {
		h := &rooms[i]
		if !g.on(h.zone) || h.memory == 0 {
			continue
		}
		closed := addSat(max(memory, 0), h.memory-1) / h.memory
		if gpus > 0 && h.gpus > 0 {
			closed = max(closed, addSat(gpus, h.gpus-1)/h.gpus)
		}
		closed = min(closed, h.count)
		memory, gpus = memory-mulSat(closed, h.memory), gpus-mulSat(closed, h.gpus)
		h.count -= closed
	}
	return slices.DeleteFunc(rooms, func(h hostRoom) bool { return h.count == 0 })
}

// hostsDetail explains to people what the hosts have room for.
func (p *planning) hostsDetail(g *groupState) string {
	before := p.hosts
	p.hosts = p.hostsFirst
	n := p.roomOnHosts(g)
	p.hosts = before
	where := "the hosts have"
	if g.Zone != "" {
		where = "the hosts of zone " + g.Zone + " have"
	}
	return fmt.Sprintf("%s room for %d more VMs of class %s", where, n, g.Class)
}

// shareHosts tells whether two groups draw on the same hosts.
func shareHosts(a, b *groupState) bool {
	return a.vm != nil && b.vm != nil && (a.Zone == "" || b.on(a.Zone))
}

// hosts holds what is bought to what is free on the hosts of each group, and all
// of a zone together to the devices and the memory there.
func (c *checking) hosts(plan Plan) {
	gpus, memory := map[string]int64{}, map[string]int64{}
	for _, st := range plan.Steps {
		g := c.p.group[st.Group]
		i := -1
		if g != nil && st.Kind == StepGrow {
			i = slices.IndexFunc(c.p.s.Classes, func(k VMClass) bool { return k.Name == g.Class && k.Invalid == "" })
		}
		if i < 0 {
			continue
		}
		need, _ := c.p.s.Classes[i].need()
		if known, _ := c.p.s.hostsOf(g.NodeGroup, need); !known || need == nil {
			continue
		}
		n, fit := st.To-st.From, int64(0)
		for _, z := range c.p.s.Zones {
			for _, h := range z.Hosts {
				room := hostRoom{memory: h.Memory, gpus: h.GPUs, devices: h.Devices}
				if g.on(z.Name) && h.Count > 0 {
					fit = addSat(fit, mulSat(room.fits(need), h.Count))
				}
			}
		}
		if n > fit {
			c.broken("I2", "growing %s by %d where its hosts have room for %d", st.Group, n, fit)
		}
		gpus[g.Zone], memory[g.Zone] = addSat(gpus[g.Zone], mulSat(n, need.gpus)), addSat(memory[g.Zone], mulSat(n, need.memory))
	}
	for _, z := range c.p.s.Zones {
		var g, m int64
		for _, h := range z.Hosts {
			g, m = addSat(g, mulSat(h.Count, max(0, h.GPUs))), addSat(m, mulSat(h.Count, max(0, h.Memory)))
		}
		if z.Unknown == "" && (gpus[z.Name] > g || memory[z.Name] > m) {
			c.broken("I2", "taking %d GPUs and %d bytes of zone %s, whose hosts have %d and %d", gpus[z.Name], memory[z.Name], z.Name, g, m)
		}
	}
}
