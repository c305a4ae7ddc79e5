#include "results/chunk_sample.h"

namespace kvhaul {

void ChunkSample::chunks_ended(std::span<const Completion> completions) {
  for (const Completion& completion : completions) {
    if (completion.outcome != Outcome::ok) continue;
    while (completion.done_ns / bin_ns_ >= static_cast<TimeNs>(bins_max)) {
      bin_ns_ *= 2;
      for (std::size_t i = 0; 2 * i < bins_.size(); ++i) {
        std::vector<Completion> joined = std::move(bins_[2 * i]);
        if (2 * i + 1 < bins_.size())
          for (const Completion& chunk : bins_[2 * i + 1])
            if (joined.size() < chunks_of_bin) joined.push_back(chunk);
        bins_[i] = std::move(joined);
      }
      bins_.resize((bins_.size() + 1) / 2);
    }
    const auto bin = static_cast<std::size_t>(completion.done_ns / bin_ns_);
    if (bin >= bins_.size()) bins_.resize(bin + 1);
    if (bins_[bin].size() < chunks_of_bin) bins_[bin].push_back(completion);
  }
}

std::vector<Completion> ChunkSample::chunks() const {
  std::vector<Completion> all;
  for (const std::vector<Completion>& bin : bins_) all.insert(all.end(), bin.begin(), bin.end());
  return all;
}

}  // namespace kvhaul
