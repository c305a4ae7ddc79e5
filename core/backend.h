// The backend contract: what moves the chunks. Two screens, on purpose.
//
// Threading: one thread calls a backend, always the same. A backend may use threads of its own.
// Blocking: only open(), register_segment(), wait() and the payload calls may block.
// Order: chunks of one channel start in posting order; completions may arrive in any order.
// Lifetime: buffers and pieces stay valid and unchanged from post() until the completion. Targets
// of chunks that are in flight together do not overlap. The cluster given to open() outlives the
// backend. Exactly one completion follows every post, also after cancel() and when a channel dies;
// after it the backend touches neither buffer again. tests/conformance checks each of these
// sentences.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cluster.h"
#include "core/ids.h"
#include "core/result.h"
#include "core/route.h"
#include "core/transfer.h"
#include "core/units.h"

namespace kvhaul {

/// One channel to open: a queue on a route, driven by the node that posts to it.
struct ChannelRequest {
  Route route;
  RouteCosts costs;
  NodeId owner = 0;   // the pushing node, or the pulling one
  bool pull = false;  // the owner is at the target end and reads
};

/// All a scheduler ever learns about a channel. Units in the names; costs as in RouteCosts.
struct ChannelNumbers {
  TimeNs fixed_ns = 0;     // latency of the links on the way included
  TimeNs post_ns = 0;      // per piece
  double bytes_per_s = 0;  // 0: nothing moves (a hand-off)
  Bytes half_bandwidth_bytes = 0;
  std::uint32_t max_in_flight = 1;  // chunks
  Bytes max_chunk_bytes = 0;
  std::uint32_t max_pieces = 256;  // in one chunk
  std::uint32_t stages = 1;
  std::uint32_t distance = 0;  // of the NICs from the memory; 0 is nearest (Route::distance)
  GatherTable gather;          // what it can do besides writing each piece

  /// Costs of a method, `each` included; nothing where the channel lacks it.
  std::optional<GatherCosts> gather_costs(Gather method) const;

  friend bool operator==(const ChannelNumbers&, const ChannelNumbers&) = default;
};

/// One unit of posted work: one piece of any length, or several whole pieces together. Without
/// pieces and bytes it is a probe: it takes its turn on the channel like any other, moves nothing,
/// touches no segment, and is `ok` when the other end could be reached, as far as one can tell.
struct ChunkPost {
  ChunkId chunk = 0;
  SegmentId source_segment = 0;
  SegmentId target_segment = 0;
  Bytes bytes = 0;
  std::uint32_t piece_count = 0;
  Gather gather = Gather::each;        // of several pieces; what the channel lacks means `each`
  Descriptor piece;                    // the piece, when there is one
  const Descriptor* pieces = nullptr;  // piece_count of them otherwise

  bool is_probe() const { return piece_count == 0 && bytes == 0; }
  std::span<const Descriptor> all() const {
    return piece_count == 1 ? std::span(&piece, 1) : std::span(pieces, piece_count);
  }
};

/// A part of a segment, and what to fill it with.
struct SegmentRange {
  Bytes offset = 0;
  Bytes length = 0;
  std::uint64_t seed = 0;  // of the pattern, where one is written
};

/// How a chunk ended, named after what the caller has to do about it.
enum class Outcome : std::uint8_t {
  ok,           // all bytes are at the target
  retry,        // nothing wrong with the channel: post again
  corrupted,    // the bytes arrived damaged: post again
  path_failed,  // use another channel (link down, retries exceeded, device lost)
  cancelled,    // cancel() or the death of its channel ended it; bytes may have been written
  invalid,      // the post itself was wrong (unknown segment, out of range): fix the caller
};
std::string_view outcome_name(Outcome outcome);

struct Completion {
  ChannelId channel = 0;
  Outcome outcome = Outcome::ok;
  ChunkId chunk = 0;
  TimeNs posted_ns = 0;   // when post() was called
  TimeNs started_ns = 0;  // when the channel began to move it
  TimeNs done_ns = 0;     // when the last byte had landed, as far as the backend can tell
  Bytes bytes = 0;        // of the chunk, as posted; 0: a probe
  TimeNs ready_ns = 0;    // when posting was through with it; 0: not known apart from started_ns
};

struct ChannelChange {
  ChannelId channel = 0;
  bool up = true;
};

/// Credits, landing notifications, block tables: small, ordered per pair of nodes, not lost unless
/// the peer is. They cost time on the way like everything else. Values are passed through as they
/// are: nodes of one run have one byte order.
struct ControlMessage {
  NodeId from = 0;
  NodeId to = 0;
  std::uint32_t kind = 0;  // below 16: the schedulers' own (core/credit.h); above: the client's
  std::uint32_t place = 0;
  std::uint64_t value = 0;
  std::uint64_t value2 = 0;
  Bytes bytes = 64;                      // on the wire, for backends that charge by size
  std::vector<std::uint64_t> body = {};  // what else the client says
};

/// What progress() found. The caller owns the vectors and clears them; the backend appends.
struct BackendEvents {
  std::vector<Completion> completions;
  std::vector<ChannelChange> changes;
  std::vector<ControlMessage> messages;
  std::vector<NodeId> lost_nodes;  // their processes are gone for good; nothing more comes of them

  void clear();
  bool empty() const {
    return completions.empty() && changes.empty() && messages.empty() && lost_nodes.empty();
  }
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// One line for the result: what ran ("emulated, virtual time, payload none").
  virtual std::string description() const = 0;
  /// False: post() only takes time, and the payload calls below must not be used.
  virtual bool moves_bytes() const = 0;

  /// Opens every channel, once, before anything else. Channel i of the run is request i. Fails
  /// with `missing` when this machine cannot drive one of the routes, saying which and why.
  virtual Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                                   std::span<const ChannelRequest> requests) = 0;
  /// Registers that many bytes of a place, before anything is posted. Fails with `missing` when the
  /// place has not got them.
  virtual Result<SegmentId> register_segment(PlaceId place, Bytes bytes) = 0;

  /// Several processes may make one run, each for some of its nodes. They open the same channels
  /// and register the same segments in the same order, and each posts, cancels and sends for the
  /// nodes that it drives; memory and payload calls are for their places only.
  virtual bool drives(NodeId /*node*/) const { return true; }
  /// Once, between the last register_segment() and the first post(). The processes of a run meet
  /// here, and now() counts from the same moment in all of them.
  virtual Result<void> start() { return {}; }

  /// Takes the chunks; never blocks, never fails: what is wrong with one is said by its completion.
  virtual void post(ChannelId channel, std::span<const ChunkPost> chunks) = 0;
  /// Asks to stop a chunk. Its completion follows in bounded time whatever the state of the link:
  /// `ok` if it had landed, `cancelled` otherwise. A backend that cannot stop one chunk tears the
  /// channel down, and all its chunks end. Unknown or finished chunks are ignored.
  virtual void cancel(ChannelId channel, ChunkId chunk) = 0;
  virtual void send(const ControlMessage& message) = 0;

  /// Appends everything that has happened up to now(); never blocks.
  virtual void progress(BackendEvents& events) = 0;
  /// Returns at `until_ns`, or earlier when progress() has something to give. With never_ns and
  /// nothing outstanding it returns at once, unless another process can still say something. In
  /// virtual time this is what moves the clock.
  virtual void wait(TimeNs until_ns) = 0;
  /// Nanoseconds since open(), those spent in register_segment() not counted: pinning memory takes
  /// seconds, and is no part of a run. Never goes back.
  virtual TimeNs now() const = 0;

  /// From now on a link has this share of its rate, as a fault script wants it; what is on the link
  /// feels it at once. False: this backend cannot change its links, and nothing has happened.
  virtual bool set_link_share(LinkId /*link*/, double /*share*/) { return false; }

  /// Computation that begins now at a place and keeps its processors and memory busy for so long,
  /// as far as the backend has any. Never blocks.
  virtual void occupy(PlaceId /*place*/, TimeNs /*duration_ns*/) {}

  // Payload: only when moves_bytes(). Offsets and lengths must lie inside the segment.
  virtual void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) = 0;
  /// Checksum of the bytes as they lie there (core/checksum.h).
  virtual std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) = 0;
  /// The same for many ranges at a time; to be overridden where a call costs more than the work.
  virtual void fill_ranges(SegmentId segment, std::span<const SegmentRange> ranges) {
    for (const SegmentRange& r : ranges) fill(segment, r.offset, r.length, r.seed);
  }
  /// sums[i] becomes the checksum of ranges[i].
  virtual void checksum_ranges(SegmentId segment, std::span<const SegmentRange> ranges,
                               std::span<std::uint64_t> sums) {
    for (std::size_t i = 0; i < ranges.size(); ++i)
      sums[i] = checksum(segment, ranges[i].offset, ranges[i].length);
  }
  /// The same without waiting, while copies go on: `sums` is filled, and must stay, until
  /// checksums_done() has reached the number returned here. Requests are answered in order.
  virtual std::uint64_t begin_checksums(SegmentId segment, std::span<const SegmentRange> ranges,
                                        std::span<std::uint64_t> sums) {
    checksum_ranges(segment, ranges, sums);
    return 0;
  }
  virtual std::uint64_t checksums_done() { return ~std::uint64_t{0}; }
  virtual void read(SegmentId segment, Bytes offset, std::span<std::byte> into) = 0;
  virtual void write(SegmentId segment, Bytes offset, std::span<const std::byte> from) = 0;
};

}  // namespace kvhaul
