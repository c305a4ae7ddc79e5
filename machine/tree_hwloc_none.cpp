#include "machine/tree.h"

namespace kvhaul {

Result<Tree> tree_from_hwloc(const std::string&) { return Error::missing("built without hwloc"); }

}  // namespace kvhaul
