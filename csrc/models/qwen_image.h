// Qwen-Image-Edit (2509 and later): its text encoder, Qwen2.5-VL, looks at the pictures that one
// starts from. One more part: vision.
#pragma once

#include <memory>

#include "models/generator.h"

namespace irt {

[[nodiscard]] std::unique_ptr<Generator> make_qwen_image(const GeneratorConfig& config,
                                                         const SessionOptions& options);

}  // namespace irt
