// Why blocks were missed, what other sizes would bring, and what loads were predicted to take.
#include "tools/terraced/metrics/metric_catalogue.h"

namespace terrace {

namespace {
using enum MetricType;
using enum MetricJoin;
}  // namespace

const MetricInfo kMisses = {"terrace_misses_total", kCounter, kSum,
                            "Blocks of gets and of matches that were not answered, by reason."};
const MetricInfo kMissAgeBucket = {
    "terrace_miss_age_seconds_bucket", kCounter, kSum,
    "Blocks that gets missed and that had left, by how long ago, as a Prometheus histogram."};
const MetricInfo kMissAgeSum = {"terrace_miss_age_seconds_sum", kCounter, kSum,
                                "Time since they left, over all of them."};
const MetricInfo kMissAgeCount = {"terrace_miss_age_seconds_count", kCounter, kSum,
                                  "How many they are."};

const MetricInfo kAdviceSeconds = {"terrace_advice_seconds", kGauge, kMaximum,
                                   "Time that the figures of advice are over, by window."};
const MetricInfo kAdviceReferences = {
    "terrace_advice_references", kGauge, kSum,
    "Blocks that clients needed, got or put for lack of them, by window."};
const MetricInfo kAdviceReferenceBytes = {"terrace_advice_reference_bytes", kGauge, kSum,
                                          "Bytes of those blocks."};
const MetricInfo kAdviceHits = {"terrace_advice_hits", kGauge, kSum,
                                "Of those blocks, the ones that were there."};
const MetricInfo kAdviceSampled = {"terrace_advice_sampled_references", kGauge, kSum,
                                   "Of those blocks, the ones that the miniature caches saw."};
const MetricInfo kAdvicePointHits = {
    "terrace_advice_point_hits", kGauge, kSum,
    "Of those blocks, the ones that would be there with so much DRAM, NVMe and HBM; estimated."};
const MetricInfo kAdvicePointDramHits = {"terrace_advice_point_dram_hits", kGauge, kSum,
                                         "Of these, the ones in DRAM or HBM."};
const MetricInfo kAdvicePointVariance = {
    "terrace_advice_point_variance", kGauge, kSum,
    "Variance of that estimate: the square of its standard error."};
const MetricInfo kAdvicePointUnfilled = {
    "terrace_advice_point_unfilled", kGauge, kSum,
    "Reactors whose blocks have not filled a cache of that size since the start."};
const MetricInfo kAdviceSampling = {"terrace_advice_sampling_ratio", kGauge, kMaximum,
                                    "Share of blocks that the miniature caches see; the largest."};
const MetricInfo kAdviceMemory = {
    "terrace_advice_memory_bytes", kGauge, kSum,
    "Memory of the miniature caches and of what is known of departed blocks."};
const MetricInfo kAdviceCpu = {"terrace_advice_cpu_seconds_total", kCounter, kSum,
                               "Time of the reactors spent on the miniature caches."};
const MetricInfo kLoadPredictions = {"terrace_load_predictions_total", kCounter, kSum,
                                     "Gets whose time was predicted, by tier (nvme: it read at "
                                     "least one block) and by the time they "
                                     "took over the predicted one."};
const MetricInfo kLoadPredictionError = {
    "terrace_load_prediction_error_total", kCounter, kSum,
    "Sum of the relative errors of these predictions, without their signs: over their number it is "
    "the mean."};
const MetricInfo kLoadPredictedSeconds = {"terrace_load_predicted_seconds_total", kCounter, kSum,
                                          "Sum of the times that these gets were to take."};
const MetricInfo kLoadActualSeconds = {"terrace_load_actual_seconds_total", kCounter, kSum,
                                       "Sum of the times that they took."};
const MetricInfo kLoadConnectionRate = {
    "terrace_load_connection_bytes_per_second", kGauge, kMaximum,
    "Bandwidth to the client that blocks were last sent to, as measured."};
const MetricInfo kLoadNvmeRate = {
    "terrace_load_nvme_bytes_per_second", kGauge, kSum,
    "Bandwidth of reading blocks from NVMe, over all devices, as measured."};
const MetricInfo kLoadNvmeLatency = {
    "terrace_load_nvme_latency_seconds", kGauge, kMaximum,
    "Time until a device answers beside what its bandwidth costs, as measured."};

}  // namespace terrace
