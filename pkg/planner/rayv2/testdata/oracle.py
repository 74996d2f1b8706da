"""Answers cases with the scheduler of an installed Ray.

Reads a JSON list of cases on stdin and writes the list of answers on stdout.
It needs nothing but a Python with ray[default] 2.60.0.

A case:
  types  {name: {res, min, max, idle, labels, hash, priority}}, in order
  max    largest number of nodes of the cluster, or null
  idle   idle timeout in seconds, or null
  dis    true: launch configurations are not checked
  avail  {type: score}, rec {type: score}
  gpus   true: GPU nodes are not spared (AUTOSCALER_CONSERVE_GPU_NODES=0)
  old    true: gangs have no bundle selectors, as before Ray 2.49, only requests
  more   true: gangs have a second bundle selector, which asks for nothing
  reqs   [[bundle, count]]
  gangs  [[bundle]]
  cons   [[[bundle, count]]]
  inst   [{id, type, st, kind, av, tot, idle (ms), labels, dyn, hash, node}];
         av null: the GCS does not know the node; node: its Ray node id
A bundle is {resource: amount}, with two keys that are no resources:
  _pc    ["anti:LABEL" | "anti:LABEL=VALUE" | "aff:LABEL"]
  _ls    [[[key, operator, [value]]]], best first; operator 1 in, 2 not in
An answer:
  launch {type: count}, term [[id, cause]] sorted, inf [bundle],
  infg [[bundle]], infc count; or error, if Ray raises an exception.

Protobuf's pure Python implementation is used, because its maps keep the order
of the case. The default one orders them by a hash that differs from process
to process, and with it the last bits of sums that break ties.
"""
import json
import logging
import os
import sys

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
logging.disable(logging.CRITICAL)

from ray.autoscaler.v2 import scheduler  # noqa: E402
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig  # noqa: E402
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest  # noqa: E402
from ray.autoscaler.v2.schema import AutoscalerInstance  # noqa: E402
from ray.core.generated import autoscaler_pb2 as pb  # noqa: E402
from ray.core.generated import common_pb2, instance_manager_pb2 as im_pb  # noqa: E402


def placement(text):
    kind, _, rest = text.partition(":")
    name, _, value = rest.partition("=")
    if kind == "anti":
        return pb.PlacementConstraint(
            anti_affinity=pb.AntiAffinityConstraint(label_name=name, label_value=value))
    return pb.PlacementConstraint(
        affinity=pb.AffinityConstraint(label_name=name, label_value=value))


def selector(constraints):
    return common_pb2.LabelSelector(label_constraints=[
        common_pb2.LabelSelectorConstraint(label_key=k, operator=op, label_values=values)
        for k, op, values in constraints])


def request(bundle):
    return pb.ResourceRequest(
        resources_bundle={k: v for k, v in bundle.items() if not k.startswith("_")},
        placement_constraints=[placement(t) for t in bundle.get("_pc", [])],
        label_selectors=[selector(s) for s in bundle.get("_ls", [])])


def bundle_of(req):
    out = dict(req.resources_bundle)
    marks = []
    for c in req.placement_constraints:
        kind = "anti" if c.HasField("anti_affinity") else "aff"
        label = c.anti_affinity if kind == "anti" else c.affinity
        marks.append(f"{kind}:{label.label_name}" + (f"={label.label_value}" if label.label_value else ""))
    if marks:
        out["_pc"] = marks
    if req.label_selectors:
        out["_ls"] = [[[c.label_key, c.operator, list(c.label_values)] for c in s.label_constraints]
                      for s in req.label_selectors]
    return out


def counted(entries):
    return [pb.ResourceRequestByCount(request=request(b), count=n) for b, n in entries]


def instance(entry):
    inst = im_pb.Instance(
        instance_id=entry["id"], instance_type=entry["type"],
        status=im_pb.Instance.InstanceStatus.Value(entry["st"]),
        node_kind=im_pb.NodeKind.Value(entry["kind"]),
        launch_config_hash=entry.get("hash") or "", node_id=entry.get("node") or "")
    node = None
    if entry["av"] is not None:
        idle = int(entry["idle"] or 0)
        node = pb.NodeState(
            node_id=entry["id"].encode(), ray_node_type_name=entry["type"],
            available_resources=entry["av"], total_resources=entry["tot"], idle_duration_ms=idle,
            status=pb.NodeStatus.IDLE if idle else pb.NodeStatus.RUNNING,
            labels=entry.get("labels") or {}, dynamic_labels=entry.get("dyn") or {})
    return AutoscalerInstance(cloud_instance_id="c-" + entry["id"], ray_node=node, im_instance=inst)


def scheduling_request(case):
    types = {
        name: NodeTypeConfig(
            name=name, min_worker_nodes=t["min"], max_worker_nodes=t["max"],
            idle_timeout_s=t.get("idle"), resources=t["res"], labels=t.get("labels") or {},
            launch_config_hash=t.get("hash") or "", priority=t.get("priority", 0))
        for name, t in case["types"].items()}
    gangs = []
    for g in case["gangs"]:
        bundles = [request(b) for b in g]
        selectors = [pb.BundleSelector(resource_requests=bundles)]
        if case.get("more"):
            selectors.append(pb.BundleSelector(resource_requests=[pb.ResourceRequest()]))
        if case.get("old"):
            selectors = []
        gangs.append(pb.GangResourceRequest(requests=bundles, bundle_selectors=selectors))
    return SchedulingRequest(
        disable_launch_config_check=case["dis"], node_type_configs=types,
        max_num_nodes=case["max"], idle_timeout_s=case["idle"],
        resource_requests=counted(case["reqs"]), gang_resource_requests=gangs,
        cluster_resource_constraints=[
            pb.ClusterResourceConstraint(resource_requests=counted(c)) for c in case["cons"]],
        current_instances=[instance(i) for i in case["inst"]],
        cloud_resource_availabilities=case.get("avail") or {},
        recoverable_resource_availabilities=case.get("rec") or {})


def answer(case):
    scheduler.AUTOSCALER_CONSERVE_GPU_NODES = not case.get("gpus")
    reply = ResourceDemandScheduler(None).schedule(scheduling_request(case))
    cause = im_pb.TerminationRequest.Cause
    return {
        "launch": {x.instance_type: x.count for x in reply.to_launch},
        "term": sorted([x.instance_id, cause.Name(x.cause)] for x in reply.to_terminate),
        "inf": [bundle_of(r) for r in reply.infeasible_resource_requests],
        "infg": [[bundle_of(r) for r in (g.bundle_selectors[0].resource_requests if g.bundle_selectors else g.requests)]
                 for g in reply.infeasible_gang_resource_requests],
        "infc": len(reply.infeasible_cluster_resource_constraints),
    }


def main():
    out = []
    for case in json.load(sys.stdin):
        try:
            out.append(answer(case))
        except Exception as e:  # whatever Ray raises is its answer
            out.append({"error": repr(e)[:300]})
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
