// Copies of blocks in the memory of GPUs.
#include "tools/terraced/metrics/metric_catalogue.h"

namespace terrace {

namespace {
using enum MetricType;
using enum MetricJoin;
}  // namespace

const MetricInfo kHbmGpus = {"terrace_hbm_gpus", kGauge, kMaximum,
                             "GPUs whose memory keeps copies of blocks."};
const MetricInfo kHbmGpusOffline = {"terrace_hbm_gpus_offline", kGauge, kMaximum,
                                    "Of those, the ones that were lost since the start."};
const MetricInfo kHbmCopiedIn = {"terrace_hbm_blocks_copied_in_total", kCounter, kSum,
                                 "Blocks copied to a GPU, as they were used again."};
const MetricInfo kHbmLoads = {"terrace_hbm_loads_total", kCounter, kSum,
                              "Blocks read from a GPU instead of from NVMe."};
const MetricInfo kHbmDropped = {"terrace_hbm_evicted_copies_total", kCounter, kSum,
                                "Copies that gave way to others."};
const MetricInfo kHbmFailed = {
    "terrace_hbm_failures_total", kCounter, kSum,
    "Copies to and from GPUs that failed, or whose bytes had other checksums; the block was read "
    "from NVMe then, or is a miss."};
const MetricInfo kHbmPinsFailed = {
    "terrace_hbm_pin_failures_total", kCounter, kSum,
    "Extents of DRAM that a GPU could not pin after their memory was replaced: it copies nothing "
    "from or to them."};
const MetricInfo kHbmAwayBytes = {
    "terrace_hbm_away_bytes", kGauge, kSum,
    "Memory that the pools lack: it was freed for another tenant, and the GPU has none in its "
    "place."};
const MetricInfo kHbmRenewalsFailed = {"terrace_hbm_renewal_failures_total", kCounter, kSum,
                                       "Tries to get such memory that failed."};
const MetricInfo kHbmWire = {
    "terrace_hbm_wire", kGauge, kSum,
    "Always 1; the labels tell how blocks in GPU memory reach clients over RDMA, and why so."};
const MetricInfo kHbmWireBytes = {"terrace_hbm_wire_bytes_total", kCounter, kSum,
                                  "Bytes of blocks that the NIC read straight from GPU memory."};

}  // namespace terrace
