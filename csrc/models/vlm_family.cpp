#include "models/vlm_family.h"

#include <algorithm>

#include "core/error.h"
#include "models/qwen3_vl.h"

namespace irt {

const VlmFamily& vlm_family(const std::string& name) {
  static const std::vector<VlmFamily> families{qwen3_vl()};
  const auto found = std::ranges::find(families, name, &VlmFamily::name);
  if (found != families.end()) return *found;
  std::string names;
  for (const VlmFamily& family : families) names += (names.empty() ? "" : ", ") + family.name;
  throw Error(ErrorCode::kBadPack, "[vlm_family] there is no family " + name +
                                       " of language models; there are " + names);
}

}  // namespace irt
