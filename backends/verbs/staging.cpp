#include "backends/verbs/staging.h"

#include "backends/host_staging.h"
#include "backends/verbs/wire_text.h"

namespace kvhaul::verbs {

Result<StagingEnd> StagingEnd::make(DeviceMemorySource* devices, PlaceId place, StagingWay way,
                                    std::uint32_t pieces_max, const Port& port,
                                    const Rights& rights) {
  StagingEnd end;
  auto buffer = devices != nullptr && devices->holds(place)
                    ? devices->make_staging(place, way, staging_bytes, pieces_max)
                    : HostStaging::make(way, staging_bytes);
  if (!buffer) return buffer.error();
  end.buffer_ = std::move(*buffer);
  auto registered = register_host(port, rights, end.buffer_->memory().data(), staging_bytes);
  if (!registered) return registered.error();
  static_assert(staging_bytes <= slice_bytes);  // one region
  end.region_ = std::move(registered->regions.front());
  end.local_ = std::move(registered->local);
  end.remote_ = std::move(registered->remote);
  return end;
}

Result<void> StagingEnd::begin(std::byte* base, const StagePart& part) {
  pieces_.clear();
  for (const SegmentRange& range : part.ranges)
    pieces_.push_back({base + range.offset, range.length});
  if (auto begun = buffer_->begin(pieces_, part.at); !begun) return begun;
  jobs_.push_back(part.generation);
  return {};
}

Result<bool> StagingEnd::finished(std::uint32_t& generation) {
  if (jobs_.empty()) return false;
  generation = jobs_.front();
  const auto done = buffer_->done();
  if (!done) return done.error();
  if (*done == finished_) return false;
  ++finished_;
  jobs_.pop_front();
  return true;
}

void StagingEnd::settle() {
  std::uint32_t generation = 0;
  while (!jobs_.empty())
    if (!finished(generation)) break;
  finished_ += jobs_.size();
  jobs_.clear();
}

std::string StagePart::text() const {
  std::string out;
  put(out, channel);
  put(out, generation);
  put(out, segment);
  put(out, at);
  for (const SegmentRange& range : ranges) {
    put(out, range.offset);
    put(out, range.length);
  }
  return out;
}

bool StagePart::parse(std::string_view text, StagePart& part) {
  if (!take(text, part.channel) || !take(text, part.generation) || !take(text, part.segment) ||
      !take(text, part.at))
    return false;
  part.ranges.clear();
  while (!text.empty()) {
    SegmentRange& range = part.ranges.emplace_back();
    if (!take(text, range.offset) || !take(text, range.length)) return false;
  }
  return true;
}

StagePart& Staging::part_of(const ChunkPost& chunk, bool source, Bytes at) {
  part.segment = source ? chunk.source_segment : chunk.target_segment;
  part.at = at;
  part.ranges.clear();
  for (const Descriptor& piece : chunk.all())
    part.ranges.push_back({source ? piece.source_offset : piece.target_offset, piece.length});
  return part;
}

const ChunkPost& Staging::on_the_wire(const ChunkPost& chunk, bool pull, Bytes at) {
  const bool source = pull ? far : near, target = pull ? near : far;
  wire = chunk;
  if (source && target) {
    wire.piece_count = 1;
    wire.piece = {at, at, chunk.bytes};
    return wire;
  }
  pieces.clear();
  for (const Descriptor& piece : chunk.all()) {
    pieces.push_back(
        {source ? at : piece.source_offset, target ? at : piece.target_offset, piece.length});
    at += piece.length;
  }
  wire.piece = pieces.front();
  wire.pieces = pieces.data();
  return wire;
}

}  // namespace kvhaul::verbs
