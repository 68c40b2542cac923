#include "tools/replay/worth/economics.h"

#include <algorithm>
#include <cctype>
#include <limits>

namespace terrace::replay {
namespace {

constexpr double kGiga = 1e9;
constexpr double kTera = 1e12;

/// 4 x layers x query heads x head_dim: QK^T and the product with V, 2 FLOP a multiply-add each.
constexpr double AttentionFlop(double layers, double heads, double head_dim) {
  return 4 * layers * heads * head_dim;
}

constexpr ModelFacts kModels[] = {
    {"llama-3-8b", 2 * 6.9796 * kGiga, AttentionFlop(32, 32, 128), 131'072, 65'536},
    {"qwen2.5-32b", 2 * 31.0 * kGiga, AttentionFlop(64, 40, 128), 262'144, 131'072},
    {"llama-3-70b", 2 * 68.4524 * kGiga, AttentionFlop(80, 64, 128), 327'680, 163'840},
    {"deepseek-v3", 2 * 36.6 * kGiga, 2.0 * 61 * 128 * (192 + 128), 70'272, 40'016},
};

constexpr Instance kInstances[] = {
    {"llama-3-8b", "a100", "bf16", 1, 156 * kTera, 156 * kTera},
    {"llama-3-8b", "h100", "bf16", 1, 500 * kTera, 500 * kTera},
    {"qwen2.5-32b", "h100", "bf16", 2, 500 * kTera, 500 * kTera},
    {"llama-3-70b", "a100", "bf16", 8, 156 * kTera, 156 * kTera},
    {"llama-3-70b", "h100", "bf16", 8, 500 * kTera, 500 * kTera},
    {"llama-3-70b", "h100-fp8", "fp8", 8, 800 * kTera, 500 * kTera},
    {"deepseek-v3", "h100", "fp8", 8, 530 * kTera, 500 * kTera},
};

bool SameName(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, [](unsigned char a, unsigned char b) {
    return std::tolower(a) == std::tolower(b);
  });
}

}  // namespace

std::span<const ModelFacts> Models() noexcept { return kModels; }
std::span<const Instance> Instances() noexcept { return kInstances; }

Result<Economics> Economics::Find(std::string_view model, std::string_view gpu) {
  std::string known;
  for (const Instance& instance : kInstances) {
    if (SameName(instance.model, model) && SameName(instance.gpu, gpu)) {
      for (const ModelFacts& facts : kModels) {
        if (facts.name == instance.model) return Economics(facts, instance);
      }
    }
    known += known.empty() ? "" : ", ";
    known += std::string(instance.model) + " on " + std::string(instance.gpu);
  }
  return Status::Invalid("no figures for model '" + std::string(model) + "' on GPU '" +
                         std::string(gpu) + "'; there are: " + known);
}

double Economics::Flop(double from, double to) const noexcept {
  return model_->linear_flop_per_token * (to - from) +
         model_->attention_flop_per_token_pair * (to * to - from * from) / 2;
}

double Economics::RecomputeSeconds(double from, double to) const noexcept {
  const double linear = model_->linear_flop_per_token * (to - from);
  const double attention = model_->attention_flop_per_token_pair * (to * to - from * from) / 2;
  return linear / (instance_->linear_flop_per_s * instance_->gpus) +
         attention / (instance_->attention_flop_per_s * instance_->gpus);
}

double Economics::SmallestHitTokens(double latency_s, double bytes_per_s,
                                    double context) const noexcept {
  const double gain_per_token =
      1 / TokensPerSecond(context) - model_->kv_bytes_per_token_bf16 / bytes_per_s;
  if (gain_per_token <= 0) return std::numeric_limits<double>::infinity();
  return latency_s / gain_per_token;
}

}  // namespace terrace::replay
