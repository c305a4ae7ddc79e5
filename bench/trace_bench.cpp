// Trace readers on text in memory: rows and bytes per second, formats side by side.
#include <memory>
#include <sstream>
#include <string>

#include <benchmark/benchmark.h>

#include "core/random.h"
#include "traces/trace.h"

namespace kvhaul {
namespace {

constexpr int rows = 20'000;

std::string text_of(TraceFormat format) {
  Random random(1);
  std::ostringstream text;
  if (format == TraceFormat::azure) text << "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";
  if (format == TraceFormat::vidur) text << "arrived_at,num_prefill_tokens,num_decode_tokens\n";
  if (format == TraceFormat::kvhaul)
    text << "# kvhaul trace 1, block 512 tokens\n"
            "arrival_s,input_tokens,output_tokens,prefix_blocks\n";
  for (int i = 0; i < rows; ++i) {
    const std::uint64_t input = random.between(100, 8'000), output = random.between(1, 1'000);
    const int second = i / 100;
    char time[64];
    std::snprintf(time, sizeof time, "%02d:%02d:%02d.%02d", second / 3600, second / 60 % 60,
                  second % 60, i % 100);
    std::string blocks;
    for (std::uint64_t b = 0; b < (input + 511) / 512; ++b) {
      if (b != 0) blocks += format == TraceFormat::kvhaul ? " " : ", ";
      blocks += std::to_string(random.below(1'000'000));
    }
    switch (format) {
      case TraceFormat::azure:
        text << "2023-11-16 " << time << "00000," << input << ',' << output << "\r\n";
        break;
      case TraceFormat::vidur:
        text << i * 0.01 << ',' << input << ',' << output << '\n';
        break;
      case TraceFormat::mooncake:
        text << "{\"timestamp\": " << i * 10 << ", \"input_length\": " << input
             << ", \"output_length\": " << output << ", \"hash_ids\": [" << blocks << "]}\n";
        break;
      default:
        text << second << '.' << (i % 100 < 10 ? "0" : "") << i % 100 << "0000000," << input << ','
             << output << ',' << blocks << '\n';
    }
  }
  return text.str();
}

void read(benchmark::State& state, TraceFormat format) {
  const std::string text = text_of(format);
  for (auto _ : state) {
    auto reader = read_trace(std::make_unique<std::istringstream>(text), "bench", format);
    if (!reader) return state.SkipWithError(reader.error().message.c_str());
    TraceRequest request;
    int read = 0;
    for (;; ++read) {
      const Result<bool> more = (*reader)->next(request);
      if (!more) return state.SkipWithError(more.error().message.c_str());
      if (!*more) break;
    }
    if (read != rows) return state.SkipWithError("rows are missing");
  }
  state.SetItemsProcessed(state.iterations() * rows);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}

BENCHMARK_CAPTURE(read, azure, TraceFormat::azure);
BENCHMARK_CAPTURE(read, vidur, TraceFormat::vidur);
BENCHMARK_CAPTURE(read, mooncake, TraceFormat::mooncake);
BENCHMARK_CAPTURE(read, kvhaul, TraceFormat::kvhaul);

}  // namespace
}  // namespace kvhaul

BENCHMARK_MAIN();
