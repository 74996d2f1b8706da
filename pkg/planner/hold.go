package planner

// holdFor tells why a vacant node is kept although nothing wants it, or nil.
func (p *planning) holdFor(*nodeState) *Alternative { return nil }

// contested tells who else changes the replicas of the group, or is empty.
func (g *groupState) contested() string { return g.Contested }
