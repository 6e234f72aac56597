// Checks of a loaded graph against its contract (export/README.md).
#pragma once

#include <initializer_list>
#include <string>

#include "tensor/ort.h"

namespace irt {

// A dimension that the contract leaves open.
inline constexpr std::int64_t kAny = -1;

// Throw Error(kBadPack), naming the file, unless the graph has an input (output) of this name and
// type whose static dimensions agree with `shape`.
void require_input(const Session& session, const std::string& file, const std::string& name,
                   ElementType type, std::initializer_list<std::int64_t> shape);
void require_output(const Session& session, const std::string& file, const std::string& name,
                    ElementType type, std::initializer_list<std::int64_t> shape);

}  // namespace irt
