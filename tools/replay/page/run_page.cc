#include <algorithm>
#include <cmath>

#include "tools/replay/page/chart.h"
#include "tools/replay/page/pages.h"
#include "tools/replay/page/run_figures.h"

namespace terrace::replay {
namespace {

double Of(const Document& document, std::string_view key) {
  return NumberOr(document, key, std::nan(""));
}

std::string Banners(const Document& document) {
  std::vector<std::string> bad;
  const auto count = [&document](std::string_view key) { return NumberOr(document, key, 0); };
  if (count("wrong_bytes") != 0 || count("wrong_blocks") != 0) {
    bad.push_back(CountOf(count("wrong_bytes"), "wrong byte") + " in " +
                  CountOf(count("wrong_blocks"), "block") + " delivered as right");
  }
  if (const std::string failure = TextOf(document, "failure"); !failure.empty()) {
    bad.push_back(failure);
  }
  if (count("worker_errors") != 0) {
    bad.push_back(CountOf(count("worker_errors"), "worker") + " died or had to be killed");
  }
  std::string out;
  if (!bad.empty()) {
    out += BannerMarkup("bad",
                        count("wrong_bytes") != 0 || count("wrong_blocks") != 0
                            ? "WRONG BYTES: do not use these figures"
                            : "THE RUN FAILED: do not use these figures",
                        bad);
  }
  std::vector<std::string> warnings;
  if (FlagOf(document, "interrupted")) {
    warnings.push_back("interrupted after " + CountText(count("requests")) + " of " +
                       CountText(count("requests_in_trace")) + " requests");
  }
  if (count("calls_failed") != 0) {
    warnings.push_back(CountOf(count("calls_failed"), "call") +
                       " had no answer; the first: " + TextOf(document, "first_call_error"));
  }
  if (count("daemon_restarts") != 0) {
    warnings.push_back(CountOf(count("daemon_restarts"), "restart") + " of the daemon; " +
                       CountOf(count("blocks_recovered"), "block") + " on NVMe after the last");
  }
  if (count("skipped_lines") != 0) {
    warnings.push_back(CountOf(count("skipped_lines"), "broken line") + " of the trace left out");
  }
  if (count("requests_late") != 0) {
    warnings.push_back(CountOf(count("requests_late"), "request") +
                       " began later than the trace says");
  }
  if (!warnings.empty()) out += BannerMarkup("warn", "To be read with care", warnings);
  if (bad.empty() && NumberOf(document, "bytes_verified")) {
    out += BannerMarkup(
        "good",
        BytesText(count("bytes_verified")) + " were compared byte by byte. Not one was wrong.", {});
  }
  return out;
}

std::string Headlines(const Document& document, const ReportPrices& prices) {
  const RunMoney money = MoneyOf(document, prices);
  const double total = Of(document, "gpu_seconds_total");
  const double saved = Of(document, "gpu_seconds_saved");
  return HeadlinesMarkup(
      {{PercentText(Of(document, "block_hit_ratio")), "blocks hit",
        "simulated " + PercentText(Of(document, "simulated_block_hit_ratio")) +
            ", infinite cache " + PercentText(Of(document, "trace_infinite_block_hit_ratio"))},
       {PercentText(saved / total), "prefill compute saved",
        FigureText(saved) + " of " + FigureText(total) + " GPU-seconds"},
       {DollarsText(money.saved - money.flash), "saved by this trace",
        DollarsText(money.saved) + " of GPUs, less " + DollarsText(money.flash) + " of flash"},
       {FigureText(Of(document, "total_gb_per_s")) + " GB/s", "moved",
        BytesText(Of(document, "bytes_got")) + " got, " + BytesText(Of(document, "bytes_put")) +
            " put"},
       {SecondsText(Of(document, "duration_s")), "duration",
        CountText(Of(document, "requests")) + " requests"}});
}

BarPart Part(double value, ChartStyle style, const std::string& name) {
  return {value, style, name + ": " + CountText(value)};
}

/// The daemon has a policy that terrace-replay did not know. Older reports do not tell.
bool SimulatedAsAnother(const Document& document) {
  const std::string simulated = TextOf(document, "simulated_policy");
  return !simulated.empty() && simulated != TextOf(document, "policy");
}

std::string HitFigures(const Document& document) {
  const double looked_up = Of(document, "blocks_looked_up");
  const auto bar = [&](const std::string& name, double ratio, double dram, double nvme) {
    const double missed = std::max(looked_up - dram - nvme, 0.0);
    return Bar{name,
               PercentText(ratio),
               {Part(dram, 1, "DRAM"), Part(nvme, 5, "NVMe"), Part(missed, 8, "missed")}};
  };
  BarChart bars;
  BarGroup group;
  group.bars.push_back(bar("this run", Of(document, "block_hit_ratio"), Of(document, "hits_dram"),
                           Of(document, "hits_nvme")));
  if (NumberOf(document, "simulated_hits_dram")) {
    group.bars.push_back(bar("simulated", Of(document, "simulated_block_hit_ratio"),
                             Of(document, "simulated_hits_dram"),
                             Of(document, "simulated_hits_nvme")));
  }
  bars.groups.push_back(std::move(group));
  std::string out = HeadingMarkup(
      "Hits by tier",
      SimulatedAsAnother(document)
          ? "Blocks of prefills by where their bytes came from. The simulation plays the same "
            "operations through " +
                TextOf(document, "simulated_policy") +
                ", because terrace-replay did not know the daemon's eviction policy: that the two "
                "differ says nothing about the daemon."
          : "Blocks of prefills by where their bytes came from. The simulation plays the same "
            "operations through the daemon's own eviction policy: a difference of a point or so is "
            "natural, more says that the daemon does not do what it should.");
  out += "<div class=\"charts\">\n";
  out += BarFigure({"Blocks looked up", "", true}, bars,
                   {{"DRAM", 1, true}, {"NVMe", 5, true}, {"missed", 8, true}});
  return out + HitsOverTime(document) + "</div>\n";
}

std::string LatencyFigures(const Document& document) {
  std::string out = HeadingMarkup(
      "Latency",
      "Of calls of the client library, each on a batch of blocks, and of what engines wait for.");
  out += "<div class=\"charts\">\n" + LatencyCurves(document) + LatencyBars(document) + "</div>\n";
  return out + LatencyTable(document);
}

std::string BytesFigures(const Document& document) {
  std::string out = HeadingMarkup("Bytes and writes", "");
  out += "<div class=\"charts\">\n" + BytesOverTime(document);
  const double scale = NumberOr(document, "scale", 1);
  BarChart bars;
  BarGroup group;
  const auto add = [&](const std::string& name, std::string_view key, ChartStyle style) {
    const std::optional<double> bytes = NumberOf(document, key);
    if (bytes) {
      group.bars.push_back({name, BytesText(*bytes), {{*bytes, style, BytesText(*bytes)}}});
    }
  };
  add("got", "bytes_got", 1);
  add("put", "bytes_put", 3);
  add("admitted to NVMe", "nvme_bytes_admitted", 5);
  add("written to devices", "device_bytes_written", 2);
  bars.groups.push_back(std::move(group));
  const double admitted = NumberOr(document, "nvme_bytes_admitted", 0);
  std::string caption;
  if (admitted > 0) {
    caption = "Write amplification " +
              FigureText(NumberOr(document, "device_bytes_written", 0) / admitted) +
              ": what devices wrote over what was admitted.";
  }
  if (scale != 1) {
    caption += (caption.empty() ? "" : " ") + std::string("Blocks here are 1/") +
               FigureText(scale) + " of the model's size.";
  }
  return out + BarFigure({"Bytes of the whole run", caption, false}, bars, {}) + "</div>\n";
}

std::string TokenTimes(const Document& document) {
  BarChart bars;
  const auto group = [&](const std::string& name, const std::string& measure) {
    BarGroup bars_of{name, {}};
    const auto add = [&](const char* label, const char* suffix, ChartStyle style) {
      const std::optional<double> ms = NumberOf(document, "ttft_ms_" + measure + "_" + suffix);
      if (!ms) return;
      const std::string text = SecondsText(*ms / 1e3);
      bars_of.bars.push_back({label, text, {{*ms, style, text}}});
    };
    add("computed", "without", 8);
    add("hits loaded", "with", 2);
    add("when it pays", "planned", 1);
    if (!bars_of.bars.empty()) bars.groups.push_back(std::move(bars_of));
  };
  group("mean", "mean");
  group("median", "p50");
  group("99th percentile", "p99");
  if (bars.groups.empty()) return "";
  return BarFigure(
      {"Time to first token",
       "When all is computed; when every hit is loaded, as fast as this run did; when a hit is "
       "loaded only where that is faster.",
       false},
      bars, {});
}

std::string MoneyTable(const Document& document, const ReportPrices& prices) {
  const RunMoney money = MoneyOf(document, prices);
  const double requests = Of(document, "requests");
  const auto row = [&](const std::string& name, double dollars, const std::string& how) {
    const double thousand = dollars / requests * 1000;
    return std::vector<Cell>{{name, 0, ""},
                             {DollarsText(dollars), dollars, ""},
                             {DollarsText(thousand), thousand, ""},
                             {how, 0, "quiet"}};
  };
  Table table;
  table.columns = {{"what", false}, {"this trace"}, {"1,000 requests"}, {"how", false}};
  table.rows.push_back(row("GPU time, all computed", money.total,
                           FigureText(Of(document, "gpu_seconds_total")) + " GPU-seconds"));
  table.rows.push_back(row("GPU time saved by hits", money.saved,
                           FigureText(Of(document, "gpu_seconds_saved")) + " GPU-seconds"));
  table.rows.push_back(
      row("flash worn", -money.flash, BytesText(money.flash_bytes) + " at the model's real size"));
  table.rows.push_back(row("saved in all", money.saved - money.flash, "at " + PriceText(prices)));
  return TableMarkup(table);
}

std::string WorthFigures(const Document& document, const ReportPrices& prices) {
  if (!NumberOf(document, "gpu_seconds_saved")) return "";
  const std::string model = TextOf(document, "model");
  const std::string gpu = TextOf(document, "gpu");
  std::string out = HeadingMarkup(
      "Compute and money saved",
      "Computed for " + (model.empty() ? "the model" : model) +
          (gpu.empty() ? "" : " on " + FigureText(NumberOr(document, "gpus", 1)) + " × " + gpu) +
          ", not measured: hits are loaded with the model's real bytes a token, as fast as the "
          "gets "
          "of this run.");
  out += "<div class=\"charts\">\n" + TokenTimes(document);
  BarChart bars;
  const double load = NumberOr(document, "load_gb_per_s", 0);
  const double even = NumberOr(document, "break_even_gb_per_s", 0);
  bars.groups.push_back(
      {"",
       {{"path of this run", FigureText(load) + " GB/s", {{load, 1, FigureText(load)}}},
        {"break-even", FigureText(even) + " GB/s", {{even, 8, FigureText(even)}}}}});
  out += BarFigure({"Load or compute",
                    "Above the break-even bandwidth, loading an average hit beats computing it. " +
                        PercentText(NumberOr(document, "loads_that_pay", 0)) +
                        " of the hits load faster than they compute.",
                    false},
                   bars, {});
  return out + "</div>\n" + MoneyTable(document, prices);
}

std::string SettingsMarkup(const Document& document) {
  std::vector<Fact> facts;
  const auto text = [&](const char* name, std::string_view key) {
    if (const std::string value = TextOf(document, key); !value.empty()) {
      facts.push_back({name, value});
    }
  };
  const auto bytes = [&](const char* name, std::string_view key, const char* zero) {
    if (const std::optional<double> value = NumberOf(document, key)) {
      facts.push_back({name, *value == 0 && *zero != '\0' ? zero : BytesText(*value)});
    }
  };
  const auto figure = [&](const char* name, std::string_view key) {
    if (const std::optional<double> value = NumberOf(document, key)) {
      facts.push_back({name, FigureText(*value)});
    }
  };
  text("trace", "trace");
  bytes("DRAM", "dram_bytes", "none");
  bytes("NVMe", "nvme_bytes", "none");
  figure("reactors", "reactors");
  text("eviction", "policy");
  if (SimulatedAsAnother(document)) text("eviction, simulated", "simulated_policy");
  text("hints", "hints");
  text("mode", "mode");
  figure("speed", "speed");
  figure("concurrency", "concurrency");
  text("think time", "think_time");
  figure("prefill workers", "prefill_workers");
  figure("decode workers", "decode_workers");
  facts.push_back({"lockstep", FlagOf(document, "lockstep") ? "yes" : "no"});
  text("link", "link");
  figure("batch, blocks", "batch_blocks");
  figure("block, tokens", "block_tokens");
  bytes("block", "block_bytes", "");
  bytes("token here", "bytes_per_token", "");
  bytes("token in the model", "kv_bytes_per_token_real", "");
  text("model", "model");
  text("GPU", "gpu");
  figure("GPUs", "gpus");
  text("weights", "weights_precision");
  if (const std::optional<double> share = NumberOf(document, "huge_page_share")) {
    facts.push_back({"huge pages", PercentText(*share)});
  }
  return HeadingMarkup("Settings", "") + FactsMarkup(facts);
}

}  // namespace

std::string RunPage(const Document& document, const ReportPrices& prices) {
  const std::string trace = TextOf(document, "trace");
  const std::string title = trace.empty() ? "Replay" : trace;
  const double nvme = NumberOr(document, "nvme_bytes", 0);
  const std::string about = "DRAM " + BytesText(Of(document, "dram_bytes")) +
                            (nvme > 0 ? ", NVMe " + BytesText(nvme) : ", no NVMe") + ", " +
                            CountText(NumberOr(document, "requests", 0)) + " requests replayed";
  std::string body = HeaderMarkup("terrace-replay run", title, about);
  body += Banners(document) + Headlines(document, prices);
  body += HitFigures(document) + BytesFigures(document) + LatencyFigures(document) +
          WorthFigures(document, prices);
  body += SettingsMarkup(document);
  body += HeadingMarkup("All figures", "Every key of report.json; docs/replay.md describes them.") +
          FactsMarkup(ScalarFacts(document));
  return PageMarkup(title + " – replayed", body + FooterMarkup(prices));
}

}  // namespace terrace::replay
