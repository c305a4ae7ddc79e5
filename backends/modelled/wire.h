// What the links do to the chunks that are on them: the one thing in which backends over modelled
// links differ. The emulated backend serves the channels of a link in turn; SimGrid shares it.
#pragma once

#include <cstdint>

#include "core/ids.h"
#include "core/units.h"

namespace kvhaul::modelled {

/// Picoseconds, so that rounding to nanoseconds does not add up over a run. 128 bits: any TimeNs,
/// and the time of any bytes at any rate, can be counted in them and added up.
__extension__ typedef __int128 TimePs;
/// Later than everything.
inline constexpr TimePs never_ps = TimePs{1} << 126;

/// A chunk on a wire: when nothing else is on its links, it has passed after `alone_ps`.
struct Passage {
  ChannelId channel = 0;
  TimePs alone_ps = 0;
  Bytes charged_bytes = 0;  // its own, and the half-bandwidth size of each of its pieces
};

/// Carries at most one chunk per channel. The times it is given never go back, and never pass
/// next_ps().
class Wire {
 public:
  virtual ~Wire() = default;

  virtual void enter(const Passage& passage, TimePs now) = 0;
  /// The chunk of that channel is taken off before it has passed.
  virtual void stop(ChannelId channel, TimePs now) = 0;
  /// When the next chunk will have passed, if nothing else happens; never_ps when nothing is on it.
  virtual TimePs next_ps() = 0;
  /// Takes that chunk off and names its channel. Chunks that pass together go in the order in which
  /// they entered.
  virtual ChannelId leave() = 0;

  /// From now on a link has this share of its rate. False: this wire cannot change it.
  virtual bool set_link_share(LinkId /*link*/, double /*share*/, TimePs /*now*/) { return false; }
};

}  // namespace kvhaul::modelled
