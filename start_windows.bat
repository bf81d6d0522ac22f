@echo off
rem Starts the server. Needs only Python 3.11 or newer: the first start makes .venv and installs the locked core into it.
rem   set OUI_EXTRAS=postgres,redis   adds optional parts
setlocal
cd /d "%~dp0"
set "FOUND="
if defined OUI_PYTHON set "FOUND=%OUI_PYTHON%"
if not defined FOUND for %%P in ("py -3.13" "py -3.12" "py -3.11" "python") do (
    if not defined FOUND %%~P -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul && set "FOUND=%%~P"
)
if not defined FOUND (
    echo oui-backend needs Python 3.11 or newer. Install it from https://www.python.org/downloads/ and start again. 1>&2
    exit /b 1
)
%FOUND% tools\install.py %OUI_EXTRAS%
if errorlevel 1 exit /b 1
.venv\Scripts\python.exe -m open_webui.cli serve %*
exit /b %errorlevel%
