#include "tensor/contract.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace irt {
namespace {

const char* name_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat32: return "float32";
    case ElementType::kInt64: return "int64";
    case ElementType::kInt32: return "int32";
    case ElementType::kBool: return "bool";
    case ElementType::kFloat16: return "float16";
    case ElementType::kUint8: return "uint8";
  }
  return "unknown";
}

template <typename Shape>
std::string describe(ElementType type, const Shape& shape) {
  std::string text = name_of(type);
  text += " [";
  for (const std::int64_t dimension : shape) {
    if (text.back() != '[') text += ", ";
    text += dimension < 0 ? "?" : std::to_string(dimension);
  }
  return text + "]";
}

void require(const std::vector<TensorInfo>& tensors, const char* kind, const std::string& file,
             const std::string& name, ElementType type, std::initializer_list<std::int64_t> shape) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const TensorInfo& tensor) { return tensor.name == name; });
  const std::string where = "[Session] " + file + ": " + kind + " `" + name + "` ";
  if (found == tensors.end()) {
    throw Error(ErrorCode::kBadPack, where + "is missing: export the pack again");
  }
  bool agrees = found->type == type && found->shape.size() == shape.size();
  for (std::size_t i = 0; agrees && i < shape.size(); ++i) {
    const std::int64_t wanted = shape.begin()[i];
    agrees = wanted < 0 || found->shape[i] < 0 || wanted == found->shape[i];
  }
  if (!agrees) {
    throw Error(ErrorCode::kBadPack, where + "is " + describe(found->type, found->shape) +
                                         ", pack.json implies " + describe(type, shape) +
                                         ": export the pack again");
  }
}

}  // namespace

void require_input(const Session& session, const std::string& file, const std::string& name,
                   ElementType type, std::initializer_list<std::int64_t> shape) {
  require(session.inputs(), "input", file, name, type, shape);
}

void require_output(const Session& session, const std::string& file, const std::string& name,
                    ElementType type, std::initializer_list<std::int64_t> shape) {
  require(session.outputs(), "output", file, name, type, shape);
}

}  // namespace irt
