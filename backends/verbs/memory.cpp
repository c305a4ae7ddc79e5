#include "backends/verbs/memory.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "backends/verbs/wire_text.h"
#include "core/unit_text.h"

namespace kvhaul::verbs {

Result<void> Memory::add(PlaceId place, const std::string& place_name, Bytes bytes,
                         const std::map<std::uint32_t, Port*>& nics) {
  Segment segment;
  segment.place = place;
  segment.bytes = bytes;
  segment.memory = modelled::make_buffer(bytes);
  if (!segment.memory)
    return Error::missing(place_name + ": this machine cannot give " + bytes_text(bytes) +
                          " of host memory; use a scenario with smaller KV pools");
  std::memset(segment.memory.get(), 0, bytes);  // every page is there before anything is measured
  const auto before = std::chrono::steady_clock::now();
  for (const auto& [nic, port] : nics) {
    MemoryKeys keys;
    keys.address = reinterpret_cast<std::uint64_t>(segment.memory.get());
    keys.bytes = bytes;
    keys.slice_bytes = slice_bytes;
    MemoryKeys far_keys = keys;
    for (Bytes at = 0; at < bytes; at += slice_bytes) {
      const Bytes length = std::min(slice_bytes, bytes - at);
      MemoryRegion region(
          ibv_reg_mr(port->domain.get(), segment.memory.get() + at, length,
                     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ));
      if (!region)
        return Error::missing(place_name + ": " + port->name.text() + " cannot register " +
                              bytes_text(length) + ": " + std::strerror(errno) +
                              (errno == ENOMEM ? " (ulimit -l says how much may be locked)" : ""));
      keys.keys.push_back(region->lkey);
      far_keys.keys.push_back(region->rkey);
      segment.regions.push_back(std::move(region));
      registered_bytes_ += length;
    }
    segment.local.emplace(nic, std::move(keys));
    segment.remote.emplace(nic, std::move(far_keys));
  }
  registered_in_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(
                           std::chrono::steady_clock::now() - before)
                           .count();
  segments_.push_back(std::move(segment));
  return {};
}

void Memory::add_remote(PlaceId place, Bytes bytes) {
  Segment segment;
  segment.place = place;
  segment.bytes = bytes;
  segments_.push_back(std::move(segment));
}

std::string Memory::export_keys() const {
  std::string out;
  for (std::uint32_t s = 0; s < segments_.size(); ++s) {
    if (!segments_[s].memory) continue;
    for (const auto& [nic, keys] : segments_[s].remote) {
      put(out, s);
      put(out, nic);
      put(out, keys.address);
      put(out, keys.bytes);
      put(out, static_cast<std::uint32_t>(keys.keys.size()));
      for (const std::uint32_t key : keys.keys) put(out, key);
    }
  }
  return out;
}

Result<void> Memory::import_keys(std::string_view exported) {
  while (!exported.empty()) {
    std::uint32_t segment = 0, nic = 0, count = 0;
    MemoryKeys keys;
    keys.slice_bytes = slice_bytes;
    bool whole = take(exported, segment) && take(exported, nic) && take(exported, keys.address) &&
                 take(exported, keys.bytes) && take(exported, count) &&
                 exported.size() / sizeof(std::uint32_t) >= count;
    for (std::uint32_t i = 0; whole && i < count; ++i)
      whole = take(exported, keys.keys.emplace_back());
    if (!whole) return Error::failed("another process's table of segments is cut off");
    if (segment >= segments_.size() || segments_[segment].bytes != keys.bytes ||
        (keys.bytes + slice_bytes - 1) / slice_bytes != count)
      return Error::failed("another process has other segments than this one");
    segments_[segment].remote[nic] = std::move(keys);
  }
  return {};
}

std::span<std::byte> Memory::bytes(SegmentId segment, Bytes offset, Bytes length) {
  check(inside(segment, offset, length) && segments_[segment].memory,
        "payload access outside the segments of this process");
  return {segments_[segment].memory.get() + offset, length};
}

}  // namespace kvhaul::verbs
