// What a sweep has got done, written down in its folder while it goes on, so that one that was
// interrupted goes on where it was (--resume). A point counts as done when the files of its run are
// still those that it left: that holds after a loss of power, too, without syncing them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/sweep_table.h"
#include "core/result.h"

namespace kvhaul::cli {

/// What must be the same for a sweep to go on: a word for it ("trace"), and its value or a digest.
using SweepIdentity = std::vector<std::pair<std::string, std::string>>;

Json identity_json(const SweepIdentity& identity);
/// From that; nothing where it is something else.
std::optional<SweepIdentity> read_identity(const Json& json);

/// Fails (bad_input) where a sweep in `folder` that was `found` is not the one that is `asked` for.
Result<void> check_same_sweep(const std::string& folder, const SweepIdentity& found,
                              const SweepIdentity& asked);

class SweepState {
 public:
  /// Of the sweep in that folder.
  explicit SweepState(const std::string& folder);

  /// Of the sweep that was interrupted there; nothing where there is none.
  std::optional<SweepIdentity> interrupted() const;
  /// Of its files; an empty one, whatever stood there.
  Result<void> make_folder() const;
  /// Nothing is done yet, whatever stood there.
  Result<void> begin(const SweepIdentity& identity) const;
  /// The row of a point that is done.
  std::optional<SweepRow> done(const SweepPoint& point) const;
  /// A point has ended. Only one whose run is whole is done: what failed may go well another time.
  /// What cannot be written down is done again, too.
  void keep(const SweepPoint& point, const SweepRow& row) const;
  /// The table is there, and nothing is left to be tried again.
  Result<void> end() const;

  /// Names in a sweep's folder that are there before any point has begun.
  static bool is_made_first(const std::string& name);
  const std::string& path() const { return path_; }

 private:
  std::string row_file(const SweepPoint& point) const;

  std::string folder_, path_;
};

}  // namespace kvhaul::cli
