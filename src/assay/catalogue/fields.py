"""The fields of a chip and a system: their dimensions, and the words users write for them."""

from __future__ import annotations

#: Number formats with a peak rate, best first for a matrix unit.
FORMATS = ("bf16", "fp16", "fp8", "fp6", "fp4", "int8", "fp32", "tf32")
#: Formats one of which a chip needs to run a whole model: attention runs in them.
WHOLE_MODEL = ("bf16", "fp16", "fp8", "int8")
KINDS_OF_CHIP = ("gpu", "tpu", "npu", "cpu", "dataflow")
MEMORY_KINDS = ("hbm", "gddr", "lpddr", "ddr", "sram")
TOPOLOGIES = ("switch", "mesh", "torus2d", "torus3d", "ring", "pcie", "dragonfly", "none")
#: Statuses under which the figures are plans.
PLANNED = {
    "ramping": "is ramping: few independent figures exist",
    "announced": "is announced, not shipping: figures are the vendor's",
    "roadmap": "is on a roadmap: figures are targets",
    "cancelled": "was removed from the roadmap",
}

#: field of a chip -> dimension; fields that are text are absent.
CHIP_DIMENSIONS = {
    **dict.fromkeys((*FORMATS, "fp64", "fp16_derived", "fp4_inference_adaptive"), "flops"),
    **dict.fromkeys(("fp16_sparse", "bf16_sparse"), "flops"),
    **dict.fromkeys(("memory_capacity", "memory2_capacity", "sram", "l2_cache", "last_level_cache"), "bytes"),
    "shared_memory_per_sm": "bytes",
    **dict.fromkeys(
        ("memory_bandwidth", "memory_bandwidth_measured", "sram_bandwidth", "l2_bandwidth"), "bandwidth"
    ),
    **dict.fromkeys(("link_bandwidth", "per_link_bandwidth", "peer_bandwidth", "nic_bandwidth"), "bandwidth"),
    **dict.fromkeys(("host_link", "fabric"), "bandwidth"),
    **dict.fromkeys(
        ("tdp", "power_provisioned", "rack_power", "power_limit_measured", "power_measured"), "power"
    ),
    **dict.fromkeys(("purchase_price", "unit_cost_estimate"), "money"),
    "hop_latency": "time",
    "boost_clock": "frequency",
    **dict.fromkeys(("link_domain", "sm_count", "dies"), "count"),
}
#: field of a system -> dimension.
SYSTEM_DIMENSIONS = {
    **dict.fromkeys(
        ("domain", "node", "max_chips", "scalable_unit", "chips_for_kimi_k2", "wafers_for_kimi_k2"), "count"
    ),
    **dict.fromkeys(("racks_for_kimi_k2", "racks_for_70b"), "count"),
    **dict.fromkeys(
        ("link_bandwidth", "peer_bandwidth", "nic_bandwidth", "scale_out", "node_egress"), "bandwidth"
    ),
    **dict.fromkeys(("link_bandwidth_total", "memory_bandwidth_total", "sram_bandwidth_total"), "bandwidth"),
    **dict.fromkeys(("bisection_bandwidth", "host_link", "allreduce_measured", "p2p_measured"), "bandwidth"),
    **dict.fromkeys(("psum_ici_measured", "psum_dcn_measured", "all_gather_measured"), "bandwidth"),
    **dict.fromkeys(("memory_total", "sram_total"), "bytes"),
    **dict.fromkeys(("bf16_total", "fp8_total", "fp4_total", "pod_flops"), "flops"),
    **dict.fromkeys(("power_provisioned", "rack_power", "system_power", "tray_power"), "power"),
    **dict.fromkeys(("scalable_unit_power", "chip_power_measured"), "power"),
    **dict.fromkeys(
        ("rack_price", "system_price", "dc_capex", "cloud_rack_price", "token_price_target"), "money"
    ),
    "hop_latency": "time",
}
#: Text fields of a chip and of a system.
CHIP_TEXTS = (
    *(
        "maker",
        "family",
        "status",
        "release",
        "process",
        "memory_type",
        "link",
        "link_topology",
        "vendor_page",
    ),
    *("software", "chiplets", "scale_out", "claims", "note", "price_note", "host_link", "power_measured"),
)
SYSTEM_TEXTS = (
    "topology_text",
    "host",
    "status",
    "use",
    "latency",
    "measured",
    "measured2",
    "scale_out",
    "note",
    "in_network_reduction",
    "sizing_advice",
    "weight",
)

#: Words users write -> field of a chip.
CHIP_WORDS = {
    **dict.fromkeys(
        ("mem", "memory", "mem_capacity", "memory_size", "capacity", "hbm", "hbm_capacity"), "memory_capacity"
    ),
    **dict.fromkeys(
        ("mem_bw", "memory_bw", "hbm_bw", "hbm_bandwidth", "bandwidth", "sram_bw"), "memory_bandwidth"
    ),
    **dict.fromkeys(
        ("link_bw", "scale_up", "scale_up_bw", "scale_up_bandwidth", "nvlink", "link"), "link_bandwidth"
    ),
    **dict.fromkeys(("peer_bw", "peer", "scale_up_p2p_bw"), "peer_bandwidth"),
    **dict.fromkeys(("nic", "nic_bw", "scale_out", "scale_out_nic", "network"), "nic_bandwidth"),
    **dict.fromkeys(("domain", "scale_up_domain", "chips_per_domain"), "link_domain"),
    **dict.fromkeys(("power", "watts", "tdp_watts"), "tdp"),
    **dict.fromkeys(("power_all_in", "allin_power", "provisioned_power"), "power_provisioned"),
    **dict.fromkeys(("mem_type",), "memory_type"),
    **dict.fromkeys(("cost", "chip_price"), "purchase_price"),
    "nvfp4": "fp4",
    "mxfp4": "fp4",
}
#: Words users write -> field of a system.
SYSTEM_WORDS = {
    **dict.fromkeys(("chips", "chips_per_scale_up_domain", "scale_up_domain"), "domain"),
    **dict.fromkeys(("link", "link_bw", "scale_up_bw"), "link_bandwidth"),
    **dict.fromkeys(("peer", "peer_bw"), "peer_bandwidth"),
    **dict.fromkeys(("nic", "nic_bw", "scale_out_nic"), "nic_bandwidth"),
    **dict.fromkeys(("power", "allin_power"), "power_provisioned"),
    **dict.fromkeys(("chips_per_node",), "node"),
    **dict.fromkeys(("max",), "max_chips"),
}
