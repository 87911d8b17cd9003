"""The packet engine: clients whose TCP is numpy."""
