package planner

import "slices"

// Reason is a code from a closed list: the same string in decisions, metrics,
// events, logs and documents. [Reasons] documents every one.
type Reason string

// The reasons: of growth and steady state of a NodeGroup, then why a demand is
// not met or a class not taken, then of removal.
const (
	ReasonDemand        Reason = "Demand"
	ReasonMinSize       Reason = "MinSize"
	ReasonSteady        Reason = "Steady"
	ReasonInUse         Reason = "InUse"
	ReasonComing        Reason = "Coming"
	ReasonNotManaged    Reason = "NotManaged"
	ReasonPaused        Reason = "Paused"
	ReasonRollout       Reason = "RolloutInProgress"
	ReasonInvalidGroup  Reason = "InvalidNodeGroup"
	ReasonClassUnusable Reason = "ClassUnusable"
	ReasonUnknownSize   Reason = "UnknownCapacity"

	ReasonDoesNotFit     Reason = "DoesNotFit"
	ReasonAtMax          Reason = "AtMaxSize"
	ReasonNoHeadroom     Reason = "NoHeadroom"
	ReasonBackoff        Reason = "Backoff"
	ReasonGlobalLimit    Reason = "GlobalLimit"
	ReasonTickLimit      Reason = "TickLimit"
	ReasonGangIncomplete Reason = "GangIncomplete"
	ReasonNoWorkerGroup  Reason = "NoWorkerGroup"
	ReasonWorkersAtMax   Reason = "WorkersAtMax"
	ReasonLabels         Reason = "NoMatchingLabels"
	ReasonTaints         Reason = "TaintNotTolerated"
	ReasonDearer         Reason = "MoreExpensive"
	ReasonPriority       Reason = "LowerPriority"
	ReasonInvalidDemand  Reason = "InvalidDemand"
	ReasonUnknownDemand  Reason = "UnknownDemand"
	ReasonInvalidCluster Reason = "InvalidRayCluster"
	ReasonSuspended      Reason = "Suspended"

	ReasonVacant          Reason = "Vacant"
	ReasonVacantHold      Reason = "VacantHold"
	ReasonWanted          Reason = "Wanted"
	ReasonAtMin           Reason = "AtMinSize"
	ReasonSourceUnknown   Reason = "SourceUnknown"
	ReasonRemovalDisabled Reason = "RemovalDisabled"
	ReasonNeverJoined     Reason = "NeverJoined"
	ReasonSurplus         Reason = "Surplus"
	ReasonShrinking       Reason = "ShrinkInFlight"

	ReasonIdle         Reason = "Idle"
	ReasonIdleHold     Reason = "IdleHold"
	ReasonBusy         Reason = "Busy"
	ReasonRayUnknown   Reason = "RayNodeUnknown"
	ReasonHead         Reason = "RayHead"
	ReasonFollow       Reason = "RayDecides"
	ReasonDraining     Reason = "Draining"
	ReasonDrained      Reason = "Drained"
	ReasonDrainRefused Reason = "DrainRefused"
	ReasonWorkersAtMin Reason = "WorkersAtMin"
	ReasonReplica      Reason = "ReplicaIncomplete"
	ReasonLeaving      Reason = "PodsLeaving"
	ReasonGone         Reason = "PodsGone"
	ReasonCancelled    Reason = "DemandGone"
	ReasonBlockingPod  Reason = "BlockingPod"
	ReasonMovable      Reason = "PodsMovable"
	ReasonNoRoom       Reason = "NoRoomElsewhere"
	ReasonKept         Reason = "KeptByMark"
	ReasonHourLimit    Reason = "HourLimit"

	ReasonForeignDelete Reason = "DeletedByOthers"
	ReasonHooked        Reason = "HookMissing"
	ReasonNoNode        Reason = "NoNode"
	ReasonUnreachable   Reason = "Unreachable"
	ReasonBreakGlass    Reason = "BreakGlass"

	ReasonHerd       Reason = "Emptiest"
	ReasonDemandHold Reason = "DemandHold"

	ReasonUnhealthy   Reason = "TooManyUnready"
	ReasonClockJump   Reason = "ClockJump"
	ReasonContested   Reason = "Contested"
	ReasonMismatch    Reason = "TemplateMismatch"
	ReasonIneffective Reason = "Ineffective"
	ReasonTenantLimit Reason = "TenantLimit"
	ReasonFairShare   Reason = "FairShare"
	ReasonRemember    Reason = "BackoffNoted"
)

// ReasonDoc documents one reason.
type ReasonDoc struct {
	Reason  Reason `json:"reason"`
	Meaning string `json:"meaning"`
	Advice  string `json:"advice"`
}

// Reasons lists every reason with its meaning and what a person can do.
func Reasons() []ReasonDoc {
	return slices.Concat(growthReasons(), removalReasons(), leadReasons(), otherReasons())
}

func growthReasons() []ReasonDoc {
	return []ReasonDoc{
		{ReasonDemand, "The group grows because demand needs it.", "Nothing; the message names the demand."},
		{ReasonMinSize, "The group grows because it is below its minimum size.", "Lower the min-size annotation if that is not wanted."},
		{ReasonSteady, "Nothing asks for a change.", "Nothing."},
		{ReasonInUse, "The group's nodes carry work.", "Nothing."},
		{ReasonComing, "Machines that are on their way will serve the demand, or the node has not come up yet.", "Wait; if it lasts, look at the Machines' conditions."},
		{ReasonNotManaged, "The MachineDeployment does not carry both size annotations.", "Set cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size and -max-size to have it managed."},
		{ReasonPaused, "The MachineDeployment or its Cluster is paused, or everything is, by whom the message names. No step is taken.", "Remove the pause when ready."},
		{ReasonRollout, "The MachineDeployment is rolling out; a shrink could hit another Machine than the one chosen.", "Wait for the rollout."},
		{ReasonInvalidGroup, "The MachineDeployment cannot be planned for, for instance because min is above max.", "Mend what the message names."},
		{ReasonClassUnusable, "The group's VM class is missing from the catalogue or not usable.", "Make the class available to the namespace, or correct the template."},
		{ReasonUnknownSize, "Nothing tells how large a node of the group is.", "Set the capacity annotations, or make the VM class readable."},
		{ReasonDoesNotFit, "The demand is larger than an empty node of the class.", "Offer a larger class, or ask for less."},
		{ReasonAtMax, "The group is at its maximum size.", "Raise the max-size annotation."},
		{ReasonNoHeadroom, "The hosts of the group's zone have no room for another VM of the class: too few free GPUs, or too little memory, on any one of them.", "Free capacity, or offer another class or zone."},
		{ReasonBackoff, "A Machine of the group was given up lately; the group rests.", "Look at the reason of the failure in the message; the group is tried again by itself."},
		{ReasonGlobalLimit, "The limit on Machines of all groups together is reached.", "Raise growth.maxMachines."},
		{ReasonTickLimit, "The limit on what one round may buy, in all or of one group, or may remove is reached; the rest follows in the next.", "Nothing, or raise growth.maxPerTick, growth.maxPerGroup or removal.maxPerTick."},
		{ReasonGangIncomplete, "Not every bundle of the placement group, or of request_resources, can be placed, so nothing is bought for any.", "Look at the alternatives: raise the limit that they name, or ask for a smaller gang."},
		{ReasonNoWorkerGroup, "No worker group of the RayCluster can hold the request.", "Add a worker group that can."},
		{ReasonWorkersAtMax, "Every worker group that could hold the request is at maxReplicas.", "Raise maxReplicas."},
		{ReasonLabels, "No worker group, or no node of the group, carries the labels that are asked for.", "Correct the selector, or label the worker group or the nodes."},
		{ReasonTaints, "The pods do not tolerate the taints of the group's nodes.", "Add the toleration, if they should run there."},
		{ReasonPriority, "A group with a higher priority serves the same demand.", "Nothing; change the annotation tandem-autoscaler.io/priority of the MachineDeployments if the order is wrong."},
		{ReasonDearer, "Another class serves the same demand at a lower price, or without taking room from demand with GPUs.", "Nothing; correct the prices of the catalogue if they are wrong."},
		{ReasonInvalidDemand, "An entry of the demand is malformed, negative or absurd, and was left out.", "Mend the program that asks."},
		{ReasonUnknownDemand, "The RayCluster's GCS cannot be read, so its demand is unknown, not zero: its nodes are held.", "Restore the connection; the message has the error."},
		{ReasonInvalidCluster, "The RayCluster, or a worker group of it, cannot be planned for: the object is broken, it is to be led while its own autoscaler is live, or Ray may resize its pods in place.", "Mend what the message names."},
		{ReasonSuspended, "The RayCluster is suspended, so it has no demand.", "Resume it when it should work again."},
	}
}

func removalReasons() []ReasonDoc {
	return []ReasonDoc{
		{ReasonVacant, "The node carries no work, nothing will use it, and it has been so for the hold time: it goes. On a Machine that others delete: nothing of Ray's is left.", "Nothing."},
		{ReasonVacantHold, "The node is vacant, or carries only pods that may be moved, and waits for its hold time to pass.", "Nothing, or change removal.vacantHold."},
		{ReasonWanted, "The node is kept, or a removal is cancelled, because demand will use it or its group is growing.", "Nothing."},
		{ReasonAtMin, "The group is at its minimum size.", "Lower the min-size annotation if it may shrink further."},
		{ReasonSourceUnknown, "A source that could matter is not fresh, so nothing is bought or removed on the strength of it.", "Restore the source that the message names."},
		{ReasonRemovalDisabled, "Removal is switched off.", "Set removal.enabled."},
		{ReasonNeverJoined, "The Machine had no usable Node by its deadline, or its provider reports a terminal failure; it is given up.", "Look at the Machine's conditions."},
		{ReasonSurplus, "Ray pods wait, but no demand, minimum or request_resources of their cluster wants them (any more), so no node is bought for them.", "Nothing; delete the pods or lower the replicas if they should not wait. Raise minReplicas if they should run without demand."},
		{ReasonShrinking, "An earlier shrink of the group has not finished.", "Wait; if it lasts, look at the Machines that are being deleted."},
	}
}

func leadReasons() []ReasonDoc {
	return []ReasonDoc{
		{ReasonIdle, "Every Ray node on the node has been idle for longer than its worker group's timeout, in two reads, or has ended, and nothing will use it.", "Nothing."},
		{ReasonIdleHold, "The node's Ray nodes are idle, but not yet for their timeout, or not yet seen so in two reads.", "Nothing, or change idleTimeoutSeconds of the worker group."},
		{ReasonBusy, "A Ray node on the node works.", "Nothing; the message names it."},
		{ReasonRayUnknown, "The GCS does not know a Ray pod of the node: it is joining, or the head has just restarted. It counts as busy.", "Wait; if it lasts, look at the pod's log."},
		{ReasonHead, "The node carries the head of a RayCluster.", "Nothing: such a node is never removed."},
		{ReasonFollow, "The node carries Ray pods of a cluster in follow mode, which Ray itself ends when they are idle.", "Nothing."},
		{ReasonDraining, "The node is cordoned and its Ray nodes are asked to drain.", "Nothing; if it lasts, look at the logs of its raylets."},
		{ReasonDrained, "A Ray node has ended after its drain while its pod runs on. The pod is taken back, or replaced where its replica is still wanted.", "Nothing."},
		{ReasonDrainRefused, "Ray refused the drain because the node works again. The removal is cancelled and the idle time starts anew.", "Nothing; if it comes often, raise idleTimeoutSeconds of the worker group."},
		{ReasonWorkersAtMin, "The worker group is at minReplicas, or request_resources needs the Ray node.", "Lower minReplicas or request_resources if it may shrink further."},
		{ReasonReplica, "A replica of a multi-host worker group can only go as a whole, and not all of it can go, or its pods do not tell which replica they belong to.", "Nothing; with an old operator, use one worker group for each replica."},
		{ReasonLeaving, "The node's Ray pods have been asked to go, or are asked again after somebody overwrote the replicas.", "Wait; if it lasts, look at the pods' finalizers."},
		{ReasonGone, "Pods named in workersToDelete are gone, so their names are taken out.", "Nothing."},
		{ReasonCancelled, "What was asked for has not come yet, and nothing wants it any more, so it is taken back.", "Nothing."},
		{ReasonBlockingPod, "A pod that must not be disturbed is on the node; the message names it and says why.", "Remove the mark or the pod if the node may go."},
		{ReasonMovable, "The node carries only pods that may be moved, and all of them fit on other nodes, so they are moved and it goes.", "Nothing; mark a pod or the node if it must stay."},
		{ReasonNoRoom, "The node's other pods have no room on other nodes, use more than half of it, or could not be moved in time; its soft taint is taken back.", "Nothing; where they could not be moved, look for the disruption budget that forbids it."},
		{ReasonKept, "A mark on the node forbids its removal.", "Take the mark away if the node may go."},
		{ReasonHourLimit, "The limit on growth or removal in one hour is reached.", "Wait, or raise growth.maxPerHour or removal.maxPerHour."},
	}
}

func otherReasons() []ReasonDoc {
	return []ReasonDoc{
		{ReasonForeignDelete, "Somebody else deletes the Machine (an upgrade, a health check, a person). Its Ray nodes are drained with a deadline; our hook holds the Machine while they work.", "Wait; to let go at once, set the release annotation on the Machine: what runs there is lost."},
		{ReasonHooked, "A managed Machine lacks the hook that holds it while Ray works on it.", "Nothing."},
		{ReasonNoNode, "The Machine that is being deleted has no Node, so nothing is held.", "Nothing."},
		{ReasonUnreachable, "The Node of the Machine that is being deleted has been unreachable for too long, so the hook is released.", "Nothing; to wait longer, raise removal.unreachableRelease."},
		{ReasonBreakGlass, "A person asked to let go of the Machine whatever is on it.", "Nothing."},

		{ReasonHerd, "The node is among the emptiest, and its pods would fit on others, so new pods are asked to prefer those.", "Nothing."},
		{ReasonDemandHold, "The node is vacant but kept: at the rate of late, it will be wanted before a new one could boot.", "Nothing, or change removal.demandHold."},

		{ReasonUnhealthy, "Too many nodes are not ready, so nothing is removed: the trouble may lie elsewhere.", "Mend the nodes, or change removal.maxUnreadyPercent."},
		{ReasonClockJump, "The clock jumped, so no timer counts in this round.", "Look at the time service of the coordinator's node if it comes again."},
		{ReasonContested, "Another writer changes the group's replicas, so it is not touched.", "Take the other writer away, or leave the group to it by removing its size annotations."},
		{ReasonMismatch, "A node of the group is smaller than its template says. The group is planned with what the node has.", "Correct the capacity annotations or the VM class."},
		{ReasonIneffective, "Growth was tried growth.maxAttempts times for this demand and its pods still wait, so no more is bought for it.", "Look at the scheduler's events of the pods: something keeps them off the new nodes."},
		{ReasonTenantLimit, "The limit on what the RayClusters of one namespace may have bought is reached.", "Wait until some of it is free, or raise the limit under tenants."},
		{ReasonFairShare, "There is not enough for all tenants of one priority, and this one has its fair part of what is short, by its weight and what it holds already.", "Wait, raise the limit that is short, or change the weights under tenants. With growth.fairShare off, RayClusters are served by priority and name alone."},
		{ReasonRemember, "The group's rest after a failure is noted on the object, so that a restart does not forget it.", "Nothing."},
	}
}
