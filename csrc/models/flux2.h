// FLUX.2-klein: a text of fixed length, reference pictures as they are.
#pragma once

#include <memory>

#include "models/generator.h"

namespace irt {

[[nodiscard]] std::unique_ptr<Generator> make_flux2(const GeneratorConfig& config,
                                                    const SessionOptions& options);

}  // namespace irt
