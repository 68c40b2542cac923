// Load or recompute: what a hit in the KV cache saves, for a named model and GPU.
//
// Model. The prefill of the token at position p costs a + b*p FLOP: `a` = 2 x the non-embedding
// active parameters, `b` = 4 x layers x heads x head_dim (attention over the p tokens before it;
// for multi-head latent attention 2 x layers x heads x (192 + 128)). Computing tokens [from, to)
// on one instance of the model therefore takes
//     a*(to - from)/R_linear + b*(to^2 - from^2)/(2*R_attention) seconds,
// with R the sustained FLOP/s of all its GPUs together. Loading n tokens of kv bytes each over a
// path of B bytes/s takes n*kv/B seconds, and pays when B > B* = n*kv/(time to compute them).
//
// Sources of the constants.
//   - Geometry and parameters: the models' published configurations. Non-embedding parameters:
//     Llama-3-8B 6.98 G (8.03 G less two embeddings of 128,256 x 4,096), Llama-3-70B 68.45 G,
//     Qwen2.5-32B 31.0 G; DeepSeek-V3 36.6 G active (arXiv 2412.19437).
//   - A100 bf16 156 TFLOP/s: MInference issue 84, Llama-3-8B, 1 M tokens in 30 min.
//   - H100 bf16 500 TFLOP/s: arXiv 2411.01783, 405B, 1 M tokens in 77 s on 128 H100.
//   - H100 fp8 800 linear and 500 attention: TensorRT-LLM performance overview, Llama-3.3-70B FP8
//     (at least 634 while also decoding).
//   - DeepSeek-V3 530 linear: 54.5 K tokens/s per node of 8 H100; attention as fp8 above.
// These are computed rates with published anchors, not measurements of this project.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace terrace::replay {

struct ModelFacts {
  std::string_view name;
  double linear_flop_per_token;          ///< a
  double attention_flop_per_token_pair;  ///< b
  double kv_bytes_per_token_bf16;
  double kv_bytes_per_token_fp8;  ///< with scales, where the model's format has them
};

/// A model on the GPUs that one copy of it is usually served on.
struct Instance {
  std::string_view model;
  std::string_view gpu;
  std::string_view precision;   ///< of the weights: "bf16" or "fp8"
  double gpus;                  ///< GPUs of one instance
  double linear_flop_per_s;     ///< sustained, per GPU
  double attention_flop_per_s;  ///< sustained, per GPU
};

[[nodiscard]] std::span<const ModelFacts> Models() noexcept;
[[nodiscard]] std::span<const Instance> Instances() noexcept;

class Economics {
 public:
  /// model and gpu: names of the table, in any case. @return kInvalid lists what there is.
  static Result<Economics> Find(std::string_view model, std::string_view gpu);

  [[nodiscard]] const ModelFacts& model() const noexcept { return *model_; }
  [[nodiscard]] const Instance& instance() const noexcept { return *instance_; }

  /// FLOP to compute tokens [from, to) of a prompt. REQUIRES: from <= to (also below).
  [[nodiscard]] double Flop(double from, double to) const noexcept;
  /// Seconds that the instance computes tokens [from, to) of a prompt.
  [[nodiscard]] double RecomputeSeconds(double from, double to) const noexcept;
  /// The same in GPU-seconds: over all GPUs of the instance.
  [[nodiscard]] double GpuSeconds(double from, double to) const noexcept {
    return RecomputeSeconds(from, to) * instance_->gpus;
  }
  /// Tokens per second, averaged over a prompt of `tokens` tokens.
  [[nodiscard]] double TokensPerSecond(double tokens) const noexcept {
    return tokens / RecomputeSeconds(0, tokens);
  }
  /// Seconds to load `tokens` tokens (bf16 KV) over a path of `bytes_per_s`.
  [[nodiscard]] double LoadSeconds(double tokens, double bytes_per_s) const noexcept {
    return tokens * model_->kv_bytes_per_token_bf16 / bytes_per_s;
  }
  /// B*: bytes/s above which loading a prompt of `tokens` tokens beats computing it.
  [[nodiscard]] double BreakEvenBytesPerSecond(double tokens,
                                               double kv_bytes_per_token) const noexcept {
    return kv_bytes_per_token * TokensPerSecond(tokens);
  }
  /// Smallest hit worth loading, tokens, when each load waits `latency_s` first and computing goes
  /// at the rate of a prompt of `context` tokens; infinity when the path is slower than B*.
  [[nodiscard]] double SmallestHitTokens(double latency_s, double bytes_per_s,
                                         double context) const noexcept;

 private:
  Economics(const ModelFacts& model, const Instance& instance)
      : model_(&model), instance_(&instance) {}

  const ModelFacts* model_;  // into the tables, which live for ever
  const Instance* instance_;
};

}  // namespace terrace::replay
