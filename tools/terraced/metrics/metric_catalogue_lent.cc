// Blocks that clients are lent: in DRAM, and in the memory of GPUs.
#include "tools/terraced/metrics/metric_catalogue.h"

namespace terrace {

namespace {
using enum MetricType;
using enum MetricJoin;
}  // namespace

const MetricInfo kLeases = {"terrace_lent_blocks", kGauge, kSum,
                            "Blocks that clients hold lent, in DRAM."};
const MetricInfo kLeaseBytes = {"terrace_lent_bytes", kGauge, kSum,
                                "Bytes of the blocks that clients hold lent, in DRAM."};
const MetricInfo kLeasesGranted = {"terrace_leases_granted_total", kCounter, kSum,
                                   "Blocks that were lent, in DRAM."};
const MetricInfo kLeasesReleased = {"terrace_leases_released_total", kCounter, kSum,
                                    "Leases in DRAM that the client ended."};
const MetricInfo kLeasesExpired = {"terrace_leases_expired_total", kCounter, kSum,
                                   "Leases in DRAM that were too old, or whose client was gone."};
const MetricInfo kLeasesRefused = {
    "terrace_leases_refused_total", kCounter, kSum,
    "Blocks not lent in DRAM because the client, or all of them, held as much as they may."};
const MetricInfo kHbmLeases = {"terrace_hbm_lent_blocks", kGauge, kSum,
                               "Blocks that clients hold lent in the memory of GPUs."};
const MetricInfo kHbmLeaseBytes = {"terrace_hbm_lent_bytes", kGauge, kSum,
                                   "Bytes of the blocks that clients hold lent there."};
const MetricInfo kHbmLeasesGranted = {"terrace_hbm_leases_granted_total", kCounter, kSum,
                                      "Blocks that were lent in the memory of GPUs."};
const MetricInfo kHbmLeasesReleased = {"terrace_hbm_leases_released_total", kCounter, kSum,
                                       "Leases there that the client ended."};
const MetricInfo kHbmLeasesExpired = {
    "terrace_hbm_leases_expired_total", kCounter, kSum,
    "Leases there that were too old, or whose client, block or GPU was gone."};
const MetricInfo kHbmLeasesRefused = {
    "terrace_hbm_leases_refused_total", kCounter, kSum,
    "Blocks lent in DRAM because the client, or all of them, held as much there as they may."};

}  // namespace terrace
