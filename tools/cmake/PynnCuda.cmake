# pynn_find_nvcc()   sets CMAKE_CUDA_COMPILER where there is an nvcc: the user's, else the wheel in
#                    the build environment, else the one on PATH, else the one in /usr/local/cuda
# pynn_enable_cuda() the language
# pynn_add_cuda()    the target _cuda

set(PYNN_MIN_NVCC 12.8)

function(pynn_nvcc_version nvcc result)
  execute_process(COMMAND "${nvcc}" --version OUTPUT_VARIABLE text ERROR_QUIET)
  string(REGEX MATCH "release ([0-9.]+)" _ "${text}")
  set(${result} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

macro(pynn_find_nvcc)
  if(NOT CMAKE_CUDA_COMPILER AND DEFINED ENV{CUDACXX})
    set(CMAKE_CUDA_COMPILER "$ENV{CUDACXX}")
  endif()

  if(NOT CMAKE_CUDA_COMPILER)
    set(pynn_ask "import importlib.util as u"
                 "print(list(u.find_spec('nvidia.cu13').submodule_search_locations)[0])")
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c "${pynn_ask}"
      OUTPUT_VARIABLE pynn_wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(EXISTS "${pynn_wheel}/bin/nvcc" AND EXISTS "${pynn_wheel}/lib/libcudart_static.a")
      set(CMAKE_CUDA_COMPILER "${pynn_wheel}/bin/nvcc")
      set(CUDAToolkit_ROOT "${pynn_wheel}")
      if(NOT EXISTS "${pynn_wheel}/lib64") # the wheel has lib/, its nvcc.profile says lib64/
        string(APPEND CMAKE_CUDA_FLAGS " -L${pynn_wheel}/lib")
      endif()
    endif()
  endif()

  if(NOT CMAKE_CUDA_COMPILER)
    foreach(pynn_candidate nvcc /usr/local/cuda/bin/nvcc)
      unset(pynn_nvcc CACHE)
      find_program(pynn_nvcc "${pynn_candidate}" NO_CMAKE_FIND_ROOT_PATH)
      if(pynn_nvcc)
        pynn_nvcc_version("${pynn_nvcc}" pynn_nvcc_release)
        if(NOT pynn_nvcc_release VERSION_LESS PYNN_MIN_NVCC)
          set(CMAKE_CUDA_COMPILER "${pynn_nvcc}")
          break()
        endif()
        message(STATUS "pynn: ${pynn_nvcc} is ${pynn_nvcc_release}, not ${PYNN_MIN_NVCC}; not used")
      endif()
    endforeach()
  endif()

  # Without the user's word: sm_80 and sm_90 from one translation to PTX, which is half of the compile
  # time. sm_90 beside sm_80, or an H100 would translate each generic kernel at first use; newer GPUs do.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES OFF)
    set(PYNN_GENERIC_CODE "--generate-code=arch=compute_80,code=[compute_80,sm_80,sm_90]")
  endif()
endmacro()

# CMake 3.25 does not know that nvcc has C++20.
macro(pynn_enable_cuda)
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
endmacro()

# Kernels are compiled through tools/check_ptxas.py, which fails on a spill or a C75xx warning. A wheel's
# go three files to a compilation, since CUDA's and C++'s headers cost 3 seconds each time (CMake 3.31;
# one by one in a build tree, where one is edited, and those that say what they may do to ptxas).
function(pynn_add_kernels target)
  add_library(${target} OBJECT ${ARGN})
  if(SKBUILD)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 3)
    foreach(kernel ${ARGN})
      file(STRINGS "${kernel}" waiver REGEX "// *ptxas: .* allowed" LIMIT_COUNT 1)
      if(waiver)
        set_source_files_properties("${kernel}" PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
      endif()
    endforeach()
  endif()
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/csrc")
  target_compile_options(${target} PRIVATE -Xptxas=-v -Xcompiler=-Wall,-Wextra)
  set(launcher "${Python_EXECUTABLE}" "${CMAKE_CURRENT_SOURCE_DIR}/tools/check_ptxas.py"
               ${CMAKE_CUDA_COMPILER_LAUNCHER})
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 20 CUDA_COMPILER_LAUNCHER "${launcher}")
endfunction()

function(pynn_add_cuda)
  set(generic ${PYNN_KERNELS})
  set(sm90 ${PYNN_KERNELS})
  list(FILTER generic EXCLUDE REGEX "_sm90\\.cu$")
  list(FILTER sm90 INCLUDE REGEX "_sm90\\.cu$")

  pybind11_add_module(_cuda MODULE NO_EXTRAS "${PYNN_BINDINGS}")
  if(generic)
    pynn_add_kernels(pynn_kernels ${generic})
    target_compile_options(pynn_kernels PRIVATE ${PYNN_GENERIC_CODE})
    target_sources(_cuda PRIVATE $<TARGET_OBJECTS:pynn_kernels>)
  endif()
  if(sm90)
    pynn_add_kernels(pynn_kernels_sm90 ${sm90})
    set_target_properties(pynn_kernels_sm90 PROPERTIES CUDA_ARCHITECTURES 90a-real)
    target_sources(_cuda PRIVATE $<TARGET_OBJECTS:pynn_kernels_sm90>)
  endif()

  target_include_directories(_cuda PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/csrc")
  target_include_directories(_cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(_cuda PRIVATE -Wall -Wextra)
  if(PYNN_GENERIC_CODE)
    set(archs "80 90-real")
  else()
    list(JOIN CMAKE_CUDA_ARCHITECTURES " " archs)
  endif()
  target_compile_definitions(
    _cuda
    PRIVATE PYNN_VERSION="${PYNN_VERSION}" PYNN_NVCC_VERSION="${CMAKE_CUDA_COMPILER_VERSION}"
            PYNN_CUDA_ARCHS="${archs}" PYNN_CUDA_ARCHS_SM90="90a-real")
  # CUDA as linker language brings the static runtime; libcuda is never linked.
  set_target_properties(_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static LINKER_LANGUAGE CUDA)
  install(TARGETS _cuda DESTINATION pynn)
endfunction()
