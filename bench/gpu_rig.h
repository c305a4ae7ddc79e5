// What the benchmarks of GPUs share: rounds and their spread, and a backend with channels to load.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime_api.h>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "backends/cuda/cuda.h"
#include "core/random.h"
#include "tests/support/gpu_cluster.h"

namespace kvhaul::bench {

using Clock = std::chrono::steady_clock;

inline constexpr Bytes segment_bytes = 512 * MiB;
inline int rounds = 7;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Stops the program where CUDA itself fails: there is nothing to measure then.
inline void must(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(code));
  std::exit(1);
}
template <class T>
T must(Result<T> result) {
  if (result) {
    if constexpr (std::is_void_v<T>)
      return;
    else
      return std::move(*result);
  }
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

struct Spread {
  double median = 0, least = 0, most = 0;
};
inline Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}
inline Spread measure(const std::function<double()>& once) {
  once();  // warm
  std::vector<double> values;
  for (int i = 0; i < rounds; ++i) values.push_back(once());
  return spread_of(std::move(values));
}
inline std::string text(const Spread& s, const char* unit) {
  char line[96];
  std::snprintf(line, sizeof line, "%8.2f %s (%.2f to %.2f)", s.median, unit, s.least, s.most);
  return line;
}
inline void row(const std::string& what, const Spread& s, const char* unit, double against = 0) {
  std::printf("  %-52s %s", what.c_str(), text(s, unit).c_str());
  if (against > 0) std::printf("  ratio %.3f", s.median / against);
  std::printf("\n");
  std::fflush(stdout);
}

/// A backend with channels, and for each a segment at both ends.
class Rig {
 public:
  Rig(Cluster cluster, std::vector<ChannelRequest> requests, const cuda::Options& options)
      : cluster_(std::move(cluster)), requests_(std::move(requests)) {
    backend_ = cuda::make_backend(options);
    max_chunk_bytes_ = must(backend_->open(cluster_, requests_))[0].max_chunk_bytes;
    for (const ChannelRequest& request : requests_)
      ends_.push_back({must(backend_->register_segment(request.route.source, segment_bytes)),
                       must(backend_->register_segment(request.route.target, segment_bytes))});
  }

  Backend& backend() { return *backend_; }
  Bytes max_chunk_bytes() const { return max_chunk_bytes_; }  // of the first channel

  /// GB/s of these chunks one behind the other, `chunks[c]` on channel c, with at most `window` of
  /// a channel on their way.
  double rate(const std::vector<std::vector<ChunkPost>>& chunks, std::size_t window) {
    BackendEvents events;
    std::vector<std::size_t> posted(chunks.size(), 0), ended(chunks.size(), 0);
    std::size_t left = 0;
    for (const auto& of_channel : chunks) left += of_channel.size();
    Bytes bytes = 0;
    TimeNs last = 0;
    const TimeNs start = backend_->now();
    while (left > 0) {
      for (ChannelId c = 0; c < chunks.size(); ++c) {
        const std::size_t until = std::min(chunks[c].size(), ended[c] + window);
        if (posted[c] >= until) continue;
        backend_->post(c, std::span(chunks[c]).subspan(posted[c], until - posted[c]));
        posted[c] = until;
      }
      backend_->wait(backend_->now() + s_ns);
      events.clear();
      backend_->progress(events);
      for (const Completion& completion : events.completions) {
        if (completion.outcome != Outcome::ok) must(cudaErrorUnknown, "a chunk did not land");
        bytes += completion.bytes;
        last = std::max(last, completion.done_ns);
        ++ended[completion.channel];
      }
      left -= events.completions.size();
    }
    return static_cast<double>(bytes) / static_cast<double>(last - start);
  }
  double rate(const std::vector<ChunkPost>& chunks, std::size_t window) {
    return rate(std::vector<std::vector<ChunkPost>>{chunks}, window);
  }

  /// Chunks of one size over the whole segment.
  std::vector<ChunkPost> contiguous(Bytes chunk_bytes, Bytes total, ChannelId channel = 0) {
    std::vector<ChunkPost> chunks;
    for (Bytes at = 0; at + chunk_bytes <= total; at += chunk_bytes) {
      const Descriptor piece{at % segment_bytes, at % segment_bytes, chunk_bytes};
      chunks.push_back(chunk(channel, {&piece, 1}, Gather::each));
    }
    return chunks;
  }
  /// The same on every channel.
  std::vector<std::vector<ChunkPost>> contiguous_on_all(Bytes chunk_bytes, Bytes total) {
    std::vector<std::vector<ChunkPost>> chunks;
    for (ChannelId c = 0; c < ends_.size(); ++c)
      chunks.push_back(contiguous(chunk_bytes, total, c));
    return chunks;
  }

  /// Pieces in random order at both ends, as pages of a KV cache lie. Fills `pieces`.
  std::vector<ChunkPost> scattered(Bytes piece_bytes, Bytes chunk_bytes, Bytes total, Gather gather,
                                   std::vector<Descriptor>& pieces) {
    const std::size_t slots = segment_bytes / piece_bytes;
    std::vector<Bytes> from(slots), to(slots);
    std::iota(from.begin(), from.end(), 0);
    std::iota(to.begin(), to.end(), 0);
    Random random(7);
    for (std::size_t i = slots - 1; i > 0; --i) {
      std::swap(from[i], from[random.below(i + 1)]);
      std::swap(to[i], to[random.below(i + 1)]);
    }
    pieces.clear();
    for (std::size_t i = 0; i < total / piece_bytes; ++i)
      pieces.push_back({from[i] * piece_bytes, to[i] * piece_bytes, piece_bytes});
    std::vector<ChunkPost> chunks;
    const std::size_t each = chunk_bytes / piece_bytes;
    for (std::size_t i = 0; i + each <= pieces.size(); i += each)
      chunks.push_back(chunk(0, std::span(pieces).subspan(i, each), gather));
    return chunks;
  }

  bool right(std::span<const Descriptor> pieces, ChannelId channel = 0) {
    for (const Descriptor& piece : pieces)
      if (backend_->checksum(ends_[channel].from, piece.source_offset, piece.length) !=
          backend_->checksum(ends_[channel].to, piece.target_offset, piece.length))
        return false;
    return true;
  }
  void fill() {
    for (const Ends& ends : ends_) {
      backend_->fill(ends.from, 0, segment_bytes, 1);
      backend_->fill(ends.to, 0, segment_bytes, 2);
    }
  }

 private:
  struct Ends {
    SegmentId from = 0, to = 0;
  };

  ChunkPost chunk(ChannelId channel, std::span<const Descriptor> pieces, Gather gather) {
    ChunkPost post;
    post.chunk = next_++;
    post.source_segment = ends_[channel].from;
    post.target_segment = ends_[channel].to;
    post.piece_count = static_cast<std::uint32_t>(pieces.size());
    post.gather = gather;
    post.piece = pieces[0];
    post.pieces = pieces.data();
    for (const Descriptor& piece : pieces) post.bytes += piece.length;
    return post;
  }

  Cluster cluster_;
  std::vector<ChannelRequest> requests_;
  std::unique_ptr<Backend> backend_;
  std::vector<Ends> ends_;
  Bytes max_chunk_bytes_ = 0;
  ChunkId next_ = 1;
};

}  // namespace kvhaul::bench
