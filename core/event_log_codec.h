// Bytes of the event log: numbers, and how a setup stands in its head (one list of fields, read and
// written alike). Part of event_log.cpp; nobody else includes it.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/random.h"
#include "core/scheduler_setup.h"

namespace kvhaul::detail {

template <class Archive>
void fields(Archive& a, SchedulerConfig& c) {
  a(c.policy), a(c.seed), a(c.ageing_ns), a(c.default_slack_ns), a(c.chunk_bytes);
  a(c.chunk_floor_bytes), a(c.chunks_per_transfer), a(c.chunk_time_ns), a(c.channel_window_ns);
  a(c.link_window_ns), a(c.rate_time_constant_ns), a(c.credit_bytes), a(c.timeout_factor);
  a(c.late_floor_ns), a(c.timeout_floor_ns), a(c.timeout_cold_ns), a(c.max_attempts);
  a(c.quarantine_errors), a(c.quarantine_ns), a(c.quarantine_max_ns), a(c.stall_timeout_ns);
}

template <class Archive>
void fields(Archive& a, GatherCosts& g) {
  a(g.fixed_ns), a(g.post_ns), a(g.piece_post_ns), a(g.half_bandwidth_bytes);
  a(g.piece_half_bandwidth_bytes), a(g.extra_permille), a(g.bytes_per_s);
}

/// Without [each], which is always empty.
template <class Archive>
void fields(Archive& a, GatherTable& table) {
  for (std::size_t m = 1; m < gather_count; ++m) a(table[m]);
}

template <class Archive>
void fields(Archive& a, ChannelNumbers& n) {
  a(n.fixed_ns), a(n.post_ns), a(n.bytes_per_s), a(n.half_bandwidth_bytes), a(n.max_in_flight);
  a(n.max_chunk_bytes), a(n.max_pieces), a(n.stages), a(n.distance), a(n.gather);
}

template <class Archive>
void fields(Archive& a, SetupChannel& c) {
  a(c.id), a(c.pair), a(c.tier), a(c.numbers), a(c.links);
}

template <class Archive>
void fields(Archive& a, SetupPair& p) {
  a(p.source), a(p.target), a(p.account);
}

template <class Archive>
void fields(Archive& a, SetupLink& l) {
  a(l.bytes_per_s);
}

template <class Archive>
void fields(Archive& a, SetupAccount& s) {
  a(s.target), a(s.ledger_node), a(s.granted_bytes), a(s.min_share_bytes), a(s.shared);
}

template <class Archive>
void fields(Archive& a, SetupLedger& l) {
  a(l.place), a(l.capacity_bytes), a(l.min_share_bytes), a(l.senders);
}

template <class Archive>
void fields(Archive& a, SchedulerSetup& s) {
  a(s.node), a(s.config), a(s.pairs), a(s.channels), a(s.links), a(s.accounts), a(s.ledgers);
}

inline void put_varint(std::vector<std::uint8_t>& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<std::uint8_t>(value) | 0x80);
    value >>= 7;
  }
  out.push_back(static_cast<std::uint8_t>(value));
}

/// Reads from bytes that may end anywhere; after a failure everything reads as zero.
class Cursor {
 public:
  Cursor(const std::uint8_t* begin, const std::uint8_t* end) : at_(begin), end_(end) {}

  bool failed() const { return failed_; }
  const std::uint8_t* at() const { return at_; }
  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }

  std::uint8_t byte() {
    if (at_ == end_) return fail();
    return *at_++;
  }
  /// Like every value, in its one form only: what is read must be what a writer would write again.
  bool flag() {
    const std::uint8_t value = byte();
    if (value > 1) reject();
    return value == 1;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) return fail();
      const std::uint8_t next = *at_++;
      value |= static_cast<std::uint64_t>(next & 0x7f) << shift;
      if ((next & 0x80) != 0) continue;
      if ((next == 0 && shift != 0) || (shift == 63 && next > 1)) break;
      return value;
    }
    malformed_ = true;
    return fail();
  }
  /// A value written by put_difference().
  std::uint64_t difference(std::uint64_t base) {
    const std::uint64_t coded = varint();
    return base + ((coded >> 1) ^ (0 - (coded & 1)));
  }
  /// True when a length is beyond anything that a writer writes, however many bytes may follow.
  bool absurd() const { return absurd_; }
  void set_absurd() { absurd_ = true; }
  /// True when the bytes are wrong as they are; more of them would not help.
  bool malformed() const { return malformed_; }
  void reject() {
    malformed_ = true;
    fail();
  }

 private:
  std::uint8_t fail() {
    failed_ = true;
    at_ = end_;
    return 0;
  }
  const std::uint8_t* at_;
  const std::uint8_t* end_;
  bool failed_ = false;
  bool malformed_ = false;
  bool absurd_ = false;
};

inline void put_difference(std::vector<std::uint8_t>& out, std::uint64_t value,
                           std::uint64_t base) {
  const auto signed_difference = static_cast<std::int64_t>(value - base);
  put_varint(out, (static_cast<std::uint64_t>(signed_difference) << 1) ^
                      static_cast<std::uint64_t>(signed_difference >> 63));
}

/// Of a stream of bytes, however it is cut into calls.
class StreamHash {
 public:
  void add(std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t byte : bytes) {
      word_ |= static_cast<std::uint64_t>(byte) << (8 * filled_);
      if (++filled_ < 8) continue;
      hash_ = mix64(hash_ ^ word_);
      word_ = 0;
      filled_ = 0;
    }
  }
  std::uint64_t value() const { return mix64(hash_ ^ word_ ^ filled_); }

 private:
  std::uint64_t hash_ = 0;
  std::uint64_t word_ = 0;
  unsigned filled_ = 0;
};

struct SetupWriter {
  std::vector<std::uint8_t>& out;

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, double>) {
      const auto bits = std::bit_cast<std::uint64_t>(value);
      for (unsigned i = 0; i < 64; i += 8) out.push_back(static_cast<std::uint8_t>(bits >> i));
    } else if constexpr (std::is_integral_v<T>) {
      put_varint(out, static_cast<std::uint64_t>(value));
    } else {
      fields(*this, value);
    }
  }
  void operator()(std::string& text) {
    put_varint(out, text.size());
    out.insert(out.end(), text.begin(), text.end());
  }
  template <class T>
  void operator()(std::vector<T>& items) {
    put_varint(out, items.size());
    for (T& item : items) (*this)(item);
  }
  template <class T>
  void operator()(std::optional<T>& item) {
    out.push_back(item ? 1 : 0);
    if (item) (*this)(*item);
  }
};

struct SetupReader {
  static constexpr std::uint64_t items_max = 1 << 24;  // of one list; no node has as many channels
  Cursor& in;

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, double>) {
      std::uint64_t bits = 0;
      for (unsigned i = 0; i < 64; i += 8) bits |= static_cast<std::uint64_t>(in.byte()) << i;
      value = std::bit_cast<double>(bits);
    } else if constexpr (std::is_integral_v<T>) {
      const std::uint64_t wide = in.varint();
      value = static_cast<T>(wide);
      if (static_cast<std::uint64_t>(value) != wide) in.reject();
    } else {
      fields(*this, value);
    }
  }
  void operator()(std::string& text) {
    const std::uint64_t size = in.varint();
    if (size > in.left()) return in.reject();
    text.clear();
    for (std::uint64_t i = 0; i < size; ++i) text.push_back(static_cast<char>(in.byte()));
  }
  template <class T>
  void operator()(std::vector<T>& items) {
    const std::uint64_t size = in.varint();
    if (size > items_max) in.set_absurd();
    if (size > in.left()) return in.reject();  // every item takes a byte at least
    items.clear();
    for (std::uint64_t i = 0; i < size && !in.failed(); ++i) (*this)(items.emplace_back());
  }
  template <class T>
  void operator()(std::optional<T>& item) {
    if (in.flag()) (*this)(item.emplace());
  }
};

}  // namespace kvhaul::detail
