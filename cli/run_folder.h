// The folder of a run while the run goes on: one run at a time writes into it, and nobody can take
// what is there for a whole run before it is.
//
// A new or empty folder is written in place beside the mark UNFINISHED. Into one with something in
// it (--force) nothing is written before the run is whole: until then the files stand in a folder
// .new-run of their own; then they take the places of the old ones, under the mark.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"

namespace kvhaul::cli {

/// Stands in a folder until what is written there is whole, however that ends.
inline constexpr const char* unfinished_mark = "UNFINISHED";

class RunFolder {
 public:
  RunFolder() = default;
  /// Makes it, or takes one that is there: an empty one, or any with `force`. Fails (bad_input)
  /// where another run writes into it at this moment, and where a file of `names` in it is one of
  /// `inputs`. `in_place`: with `force`, too, files are written where they stay.
  static Result<RunFolder> open(const std::string& path, bool force, bool in_place,
                                const std::vector<std::string>& names,
                                const std::vector<std::string>& inputs);

  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&& other) noexcept;
  ~RunFolder();  // lets others in; files stay as they are

  const std::string& path() const { return path_; }
  /// Where files are written while the run goes on.
  const std::string& writing() const { return writing_; }
  /// All files are whole: puts them into their places and takes the mark away.
  Result<void> finish();
  /// Nothing has come of it: takes back what open() has made, unless something else is in it.
  void take_back();

 private:
  Result<void> mark();

  std::string path_, writing_;
  int lock_ = -1;
  bool made_ = false;
};

}  // namespace kvhaul::cli
